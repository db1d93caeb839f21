"""The plan of a job that is not created."""

from __future__ import annotations

from pixelflow.contracts.explanation import Explanation, explain, format_of
from pixelflow.contracts.field_errors import validation_failed
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.errors import FieldError
from pixelflow.imaging.formats.registry import FORMATS
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.settings import Settings


def plan_of(request: CreateJobRequest, settings: Settings) -> Explanation:
    """Return the plan of the job for a source with the declared properties.

    Raises:
        ValidationFailedError: the request declares no size.
        TooManyPixelsError: the source exceeds the pixel limit.
        OutputTooLargeError: a result, or all of them together, exceed the pixel limit.
    """
    source = request.source
    if source is None or source.width is None or source.height is None:
        message = "is required for `dry_run`: the size in pixels that the plan is made for"
        missing = [name for name in ("width", "height") if getattr(source, name, None) is None]
        raise validation_failed([FieldError(pointer=f"/source/{name}", message=message) for name in missing])
    format_ = format_of(source.content_type)
    header = Header(Size(source.width, source.height), frames=source.frames or 1, wide=FORMATS[format_].wide)
    limits = TransformLimits(
        max_source_pixels=settings.max_source_pixels,
        max_output_pixels=settings.max_output_pixels,
        max_output_bytes=settings.max_output_bytes,
        max_job_output_pixels=settings.max_job_output_pixels,
    )
    return explain(request.pipeline, format_, header, limits, source.options)
