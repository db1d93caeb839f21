"""What a pipeline would do: the plan of a job, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from pixelflow.contracts.capabilities import required_capabilities
from pixelflow.contracts.responses import ResponseModel
from pixelflow.errors import TooManyPixelsError
from pixelflow.imaging.formats.registry import FORMATS, INPUT_FORMATS
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.memory import estimate
from pixelflow.imaging.operations.registry import operation_of
from pixelflow.imaging.plan import Plan, check_work, needs_animation, plan
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.imaging.source_options import SourceOptions
from pixelflow.imaging.step import SOURCE, Step


class ExplainedSource(ResponseModel):
    """How the source would be decoded."""

    format: str
    width: Annotated[int, Field(description="Width in pixels, upright.")]
    height: Annotated[int, Field(description="Height in pixels, upright.")]
    frames: Annotated[int, Field(description="Frames that would be decoded.")]
    shrink: Annotated[
        float,
        Field(
            description="Factor by which the source is reduced while it is decoded, as all steps allow. Below 1, a "
            "vector image is drawn larger."
        ),
    ]
    decoded_width: Annotated[int, Field(description="Width in pixels after the reduction.")]
    decoded_height: Annotated[int, Field(description="Height in pixels after the reduction.")]


class ExplainedStep(ResponseModel):
    """What a step would make."""

    id: str
    action: str
    reads: Annotated[list[str], Field(description="The source, or the steps, whose pictures it reads.")]
    width: Annotated[int, Field(description="Width in pixels; the largest, where it depends on the content.")]
    height: Annotated[int, Field(description="Height in pixels; the largest, where it depends on the content.")]
    bits: Annotated[
        int,
        Field(
            description="Bits per channel of its result, before the encoder: 16 if the source has more than 8 and an "
            "output that depends on the step asks for them, else 8."
        ),
    ]
    output: Annotated[bool, Field(description="Whether the job returns its result.")]
    format: Annotated[str | None, Field(description="Format of the output. Null for an intermediate step.")]
    frames: Annotated[int, Field(description="Frames of the output.")]
    shared: Annotated[bool, Field(description="Whether its result is used more than once, so kept in memory.")]


class Explanation(ResponseModel):
    """The plan of a job: ``POST /v1/jobs?dry_run=true`` and ``pixelflow explain``."""

    source: ExplainedSource
    source_shared: Annotated[bool, Field(description="Whether the decoded source is used more than once.")]
    steps: Annotated[list[ExplainedStep], Field(description="In the order in which they run.")]
    unused: Annotated[list[str], Field(description="Steps that lead to no output; they don't run.")]
    decoded_pixels: Annotated[int, Field(description="Pixels to decode, after the reduction by the decoder.")]
    result_pixels: Annotated[int, Field(description="Width × height × frames over the results of all steps.")]
    memory_bytes: Annotated[int, Field(description="Upper estimate of the memory of the transform.")]
    requires: Annotated[list[str], Field(description="Capabilities that a worker needs for the job.")]


def explain(
    pipeline: Sequence[Step],
    source_format: str,
    header: Header,
    limits: TransformLimits,
    options: SourceOptions | None = None,
) -> Explanation:
    """Return what the pipeline would do with such a source.

    Args:
        pipeline: the steps.
        source_format: name of an input format.
        header: of the source.
        limits: as a worker has them.
        options: how to read the source.

    Raises:
        TooManyPixelsError: the frames that are decoded exceed the pixel limit together.
        OutputTooLargeError: a result, or all of them together, exceed the pixel limit.
    """
    made = plan(pipeline, header.size, source_format, wide=header.wide)
    one_frame = options is not None and options.frame is not None
    frames = header.frames if needs_animation(pipeline, source_format) and not one_frame else 1
    if (pixels := header.size.pixels * frames) > limits.max_source_pixels:
        raise TooManyPixelsError(f"The source has {pixels} pixels; the limit is {limits.max_source_pixels} pixels")
    check_work(made, limits, frames)
    format_ = FORMATS[source_format]
    decoded = header.size.reduced(made.shrink)
    steps = [_explained(made, step, frames) for step in made.steps]
    return Explanation(
        source=_explained_source(made, source_format, header.size, frames),
        source_shared=made.shared(SOURCE),
        steps=steps,
        unused=sorted({step.id for step in pipeline} - {step.id for step in made.steps}),
        decoded_pixels=decoded.pixels * frames,
        result_pixels=sum(step.width * step.height * frames for step in steps),
        memory_bytes=estimate(made, format_, header, frames).peak,
        requires=list(required_capabilities(pipeline, options, content_type=format_.media_type)),
    )


def format_of(media_type: str | None) -> str:
    """Return the name of the input format with this media type; JPEG if there is none."""
    return next((name for name, format_ in INPUT_FORMATS.items() if format_.is_declared_by(media_type)), "jpeg")


def _explained_source(made: Plan, source_format: str, size: Size, frames: int) -> ExplainedSource:
    decoded = size.reduced(made.shrink)
    return ExplainedSource(
        format=source_format,
        width=size.width,
        height=size.height,
        frames=frames,
        shrink=made.shrink,
        decoded_width=decoded.width,
        decoded_height=decoded.height,
    )


def _explained(made: Plan, step: Step, frames: int) -> ExplainedStep:
    size, format_ = made.sizes[step.id].result, made.formats[step.id]
    return ExplainedStep(
        id=step.id,
        action=step.action,
        reads=list(operation_of(step).inputs(step)),
        width=size.width,
        height=size.height,
        bits=16 if step.id in made.wide else 8,
        output=step.output,
        format=format_ if step.output else None,
        frames=frames if FORMATS[format_].animation else 1,
        shared=made.shared(step.id),
    )
