"""The source of a job, as a request declares it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StrictInt, ValidationInfo
from pydantic_core import PydanticCustomError

from pixelflow.contracts.jobs.limits import RequestLimits
from pixelflow.contracts.uploads import SHA256_PATTERN, MediaType
from pixelflow.imaging.source_options import SourceOptions


class SourceType(StrEnum):
    """How a job gets its source."""

    S3_PRESIGNED = "s3_presigned"
    LOCAL_FILE = "local_file"


MAX_SIDE = 1_000_000
"""Pixels of a declared side."""
MAX_FRAMES = 100_000


def _within_limit(content_length: int | None, info: ValidationInfo) -> int | None:
    limits = info.context
    if isinstance(limits, RequestLimits) and (content_length or 0) > limits.max_source_bytes:
        raise PydanticCustomError("source_too_large", f"must be at most {limits.max_source_bytes} bytes")
    return content_length


class DeclaredSource(SourceOptions):
    """Properties of the file to upload, of which the first three are signed into the upload URL; and how to read it."""

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
