"""The protocol between a worker and its transform children: one JSON line per request and per reply.

A malicious image may have taken a child over, so the worker trusts nothing in a reply: these models validate every
reply, the worker derives file names itself, and nothing is unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from pixelflow.contracts.pipeline import MAX_STEPS, Format, Pipeline, StepId


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TransformLimits(_Message):
    """Limits of one transform."""

    max_source_pixels: int
    """Width × height of the source, in pixels, summed over all frames."""
    max_output_pixels: int
    """Width × height of any image that a step makes."""
    max_output_bytes: int
    """Size of all outputs together."""


class TransformRequest(_Message):
    """A request to make a pipeline's outputs from a source file."""

    source: Path
    directory: Path
    """Where the child writes outputs; private to this attempt."""
    pipeline: Pipeline
    limits: TransformLimits


class RenderedSource(_Message):
    """Properties of the source, as decoded."""

    format: Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")]
    width: Annotated[int, Field(ge=1)]
    """Pixels, after EXIF orientation."""
    height: Annotated[int, Field(ge=1)]


class RenderedOutput(_Message):
    """An output, written to the directory as ``output_name(step_id, format)``."""

    step_id: StepId
    format: Format
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class StepTime(_Message):
    """Start and end of a step, in microseconds since the transform began. For traces only; no decision depends on it.

    libvips computes lazily: the source of a single step is decoded while that step writes its output.
    """

    step_id: StepId
    """``source`` for the work before the first step; includes decoding if several steps use the source."""
    start_us: Annotated[int, Field(ge=0)]
    end_us: Annotated[int, Field(ge=0)]


class Rendered(_Message):
    """The reply to a request that succeeded."""

    kind: Literal["rendered"] = "rendered"
    source: RenderedSource
    outputs: list[RenderedOutput]
    """In pipeline order, without intermediates."""
    times: Annotated[list[StepTime], Field(max_length=MAX_STEPS + 1)] = []
    """The source, then the steps that lead to an output, in the order in which they ran."""


class Refused(_Message):
    """The reply to a request that failed, with the code of a :class:`~pixelflow.contracts.errors.JobError`."""

    kind: Literal["refused"] = "refused"
    code: Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")]
    detail: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f\x7f]*$")]
    step_id: StepId | None = None


REPLY: TypeAdapter[Rendered | Refused] = TypeAdapter(Annotated[Rendered | Refused, Field(discriminator="kind")])
