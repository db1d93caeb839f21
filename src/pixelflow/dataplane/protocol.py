"""What a worker and its children say to each other: one JSON line each way.

The worker trusts nothing that a child says: a picture may have taken the child over. So every reply is validated
against these models, files are named by the worker's rule and never by the child, and nothing is ever unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from pixelflow.contracts.pipeline import MAX_STEPS, Format, Pipeline, StepId


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TransformLimits(_Message):
    """What one transform may cost."""

    max_source_pixels: int
    """Width × height of the source, in pixels, all frames."""
    max_output_pixels: int
    """Width × height of any picture that a step makes."""
    max_output_bytes: int
    """Of all outputs together."""


class TransformRequest(_Message):
    """Make these outputs from this file."""

    source: Path
    directory: Path
    """Where outputs go; private to this attempt."""
    pipeline: Pipeline
    limits: TransformLimits


class RenderedSource(_Message):
    """What the decoder found."""

    format: Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")]
    width: Annotated[int, Field(ge=1)]
    """Pixels, after EXIF orientation."""
    height: Annotated[int, Field(ge=1)]


class RenderedOutput(_Message):
    """One file that lies in the directory under ``output_name(step_id, format)``."""

    step_id: StepId
    format: Format
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class StepTime(_Message):
    """When a step was worked on, in microseconds since its transform began. For traces; nothing is decided by it.

    libvips computes when it has to: what is used once is decoded while its step writes it.
    """

    step_id: StepId
    """Or ``source``: what comes before the first step, with the decoding if several steps need it."""
    begun_us: Annotated[int, Field(ge=0)]
    ended_us: Annotated[int, Field(ge=0)]


class Rendered(_Message):
    """Here they are."""

    kind: Literal["rendered"] = "rendered"
    source: RenderedSource
    outputs: list[RenderedOutput]
    """In the pipeline's order, intermediates left out."""
    times: Annotated[list[StepTime], Field(max_length=MAX_STEPS + 1)] = []
    """The source, then in the pipeline's order the steps that lead to an output."""


class Refused(_Message):
    """It can't be done: the code of a :class:`~pixelflow.contracts.errors.JobError`."""

    kind: Literal["refused"] = "refused"
    code: Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")]
    detail: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f\x7f]*$")]
    step_id: StepId | None = None


REPLY: TypeAdapter[Rendered | Refused] = TypeAdapter(Annotated[Rendered | Refused, Field(discriminator="kind")])
