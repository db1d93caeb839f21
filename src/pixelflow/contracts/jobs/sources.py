"""The source of a job, as a request declares it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StrictInt, ValidationInfo
from pydantic_core import PydanticCustomError

from pixelflow.contracts.jobs.limits import RequestLimits
from pixelflow.contracts.uploads import SHA256_PATTERN, MediaType
from pixelflow.imaging.fields import STEP_ID_PATTERN
from pixelflow.imaging.source_options import SourceOptions


class SourceType(StrEnum):
    """How a job gets its source."""

    S3_PRESIGNED = "s3_presigned"
    LOCAL_FILE = "local_file"
    JOB = "job"
    """The worker reads a file of an earlier job of the same user."""


TYPE_OF_FIELD = {"job": SourceType.JOB}
"""The fields of ``source`` that name a source which is there already, and the type of the source that each means."""
MAX_SIDE = 1_000_000
"""Pixels of a declared side."""
MAX_FRAMES = 100_000


def _within_limit(content_length: int | None, info: ValidationInfo) -> int | None:
    limits = info.context
    if isinstance(limits, RequestLimits) and (content_length or 0) > limits.max_source_bytes:
        raise PydanticCustomError("source_too_large", f"must be at most {limits.max_source_bytes} bytes")
    return content_length


class DeclaredSource(SourceOptions):
    """Where the source is, unless you upload it; the properties of the file; and how to read it.

    The first three properties are signed into the upload URL.
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
    content_length: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            description="Size of the file in bytes. Required for an upload, unless the operator made it optional.",
            examples=[2483920],
        ),
        AfterValidator(_within_limit),
    ] = None
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
