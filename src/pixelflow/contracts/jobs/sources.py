"""The source of a job, as a request declares it."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StringConstraints, ValidationInfo
from pydantic_core import PydanticCustomError

from pixelflow.contracts.jobs.destinations import BUCKET_NAME_PATTERN, MAX_KEY_BYTES
from pixelflow.contracts.jobs.limits import RequestLimits
from pixelflow.contracts.uploads import SHA256_PATTERN, MediaType
from pixelflow.errors import TargetRefusedError
from pixelflow.imaging.fields import STEP_ID_PATTERN
from pixelflow.imaging.source_options import SourceOptions


class SourceType(StrEnum):
    """How a job gets its source."""

    S3_PRESIGNED = "s3_presigned"
    LOCAL_FILE = "local_file"
    JOB = "job"
    """The worker reads a file of an earlier job of the same user."""
    URL = "url"
    """The worker fetches a file from a URL."""
    BUCKET = "bucket"
    """The worker reads an object in a bucket that the operator named."""


TYPE_OF_FIELD = {"job": SourceType.JOB, "url": SourceType.URL, "bucket": SourceType.BUCKET}
"""The fields of ``source`` that name a source which is there already, and the type of the source that each means."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_SIDE = 1_000_000
"""Pixels of a declared side."""
MAX_FRAMES = 100_000


def _within_limit(content_length: int | None, info: ValidationInfo) -> int | None:
    limits = info.context
    if isinstance(limits, RequestLimits) and (content_length or 0) > limits.max_source_bytes:
        raise PydanticCustomError("source_too_large", f"must be at most {limits.max_source_bytes} bytes")
    return content_length


def _is_allowed_url(url: str, info: ValidationInfo) -> str:
    """Check the syntax, and the rules of the operator. Workers check the addresses on each connection."""
    if url.lower().startswith("s3://"):
        raise PydanticCustomError("source_url", "can't be of a bucket; set `bucket` and `key` instead")
    if not url.lower().startswith(("https://", "http://")):
        raise PydanticCustomError("source_url", "must be an https URL such as https://img.example/a.jpg")
    if "#" in url:
        raise PydanticCustomError("source_url", "must not contain a fragment (#)")
    limits = info.context
    if isinstance(limits, RequestLimits):
        try:
            limits.check_source_url(url)
        except TargetRefusedError as error:
            raise PydanticCustomError(error.code, error.detail) from error
    return url


def _is_safe_object_key(key: str) -> str:
    """Check that no server or library can mean another object by the key."""
    if len(key.encode()) > MAX_KEY_BYTES:
        raise PydanticCustomError("source_key", f"must have at most {MAX_KEY_BYTES} bytes")
    if any(name in {"", ".", ".."} for name in key.split("/")) or _CONTROL.search(key):
        raise PydanticCustomError(
            "source_key",
            "must be folders and a file name, such as photos/1.jpg; without a / at the start or the end, an empty, "
            ". or .. part, or a control character",
        )
    return key


ObjectKey = Annotated[str, StringConstraints(max_length=MAX_KEY_BYTES), AfterValidator(_is_safe_object_key)]
SourceUrl = Annotated[
    str,
    StringConstraints(max_length=2048, pattern=r"^[!-~]+$"),
    AfterValidator(_is_allowed_url),
    Field(examples=["https://img.example/originals/a17.jpg"]),
]


class DeclaredSource(SourceOptions):
    """Where the source is, unless you upload it; the properties of the file; and how to read it.

    `content_length`, `content_type` and `sha256` are signed into the upload URL.
    """

    job: Annotated[
        UUID | None,
        Field(
            description="ID of an earlier job of yours whose source is processed again, without a copy.",
            examples=["0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55"],
        ),
    ] = None
    output: Annotated[
        str | None,
        Field(
            pattern=STEP_ID_PATTERN,
            description="ID of the step whose output is the source. Only beside `job`. Default: that job's source.",
            examples=["hero"],
        ),
    ] = None
    url: Annotated[
        SourceUrl | None,
        Field(
            repr=False,
            description="URL of a file that a worker fetches, if the operator enabled this. It may contain a token.",
        ),
    ] = None
    bucket: Annotated[
        str | None,
        Field(
            pattern=BUCKET_NAME_PATTERN,
            description="Name that the operator gave a bucket with sources. Beside `key`.",
            examples=["originals"],
        ),
    ] = None
    key: Annotated[
        ObjectKey | None,
        Field(
            description="Key of the object in the `bucket`, below the prefix that the operator set for it.",
            examples=["photos/1.jpg"],
        ),
    ] = None
    content_length: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            description="Size of the file in bytes. Required for an upload, unless the operator made it optional.",
            examples=[2483920],
        ),
        AfterValidator(_within_limit),
    ] = None
    multipart: Annotated[
        StrictBool,
        Field(description="Whether you upload the file in parts. Only for an upload with `content_length`."),
    ] = False
    content_type: Annotated[MediaType | None, Field(description="Media type of the file.", examples=["image/jpeg"])] = (
        None
    )
    sha256: Annotated[
        str | None,
        Field(
            pattern=SHA256_PATTERN,
            description="SHA-256 of the file, as 64 lower-case hexadecimal digits. A file with another one is not "
            "processed.",
        ),
    ] = None
    width: Annotated[
        StrictInt | None, Field(ge=1, le=MAX_SIDE, description="Width in pixels, upright. Only for `dry_run`.")
    ] = None
    height: Annotated[
        StrictInt | None, Field(ge=1, le=MAX_SIDE, description="Height in pixels, upright. Only for `dry_run`.")
    ] = None
    frames: Annotated[
        StrictInt | None, Field(ge=1, le=MAX_FRAMES, description="Frames of an animation. Only for `dry_run`.")
    ] = None
