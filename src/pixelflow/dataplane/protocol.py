"""What a worker and its children say to each other: one JSON line each way.

The worker trusts nothing that a child says: a picture may have taken the child over. So every reply is validated
against these models, files are named by the worker's rule and never by the child, and nothing is ever unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from pixelflow.contracts.pipeline import Format, Pipeline, StepId


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Message):
    """What one transform may cost."""

    max_source_pixels: int
    """Width × height of the source, in pixels, all frames."""
    max_output_pixels: int
    """Width × height of any picture that a step makes."""


class TransformRequest(_Message):
    """Make these outputs from this file."""

    source: Path
    directory: Path
    """Where outputs go; private to this attempt."""
    pipeline: Pipeline
    limits: Limits


class RenderedSource(_Message):
    """What the decoder found."""

    format: Annotated[str, Field(max_length=16)]
    width: Annotated[int, Field(ge=1)]
    """Pixels, after EXIF orientation."""
    height: Annotated[int, Field(ge=1)]


class RenderedOutput(_Message):
    """One file that lies in the directory under ``output_name(step_id, format)``."""

    step_id: StepId
    format: Format
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class Rendered(_Message):
    """What one transform made."""

    source: RenderedSource
    outputs: list[RenderedOutput]
    """In the pipeline's order, intermediates left out."""


class Done(_Message):
    """Here they are."""

    kind: Literal["done"] = "done"
    rendered: Rendered
    compute_time_ms: Annotated[int, Field(ge=1)]
    """CPU time of the child for this transform, all threads."""


class Refused(_Message):
    """It can't be done: the code of a :class:`~pixelflow.contracts.problems.JobError`."""

    kind: Literal["refused"] = "refused"
    code: Annotated[str, Field(max_length=64)]
    detail: Annotated[str, Field(max_length=2000)]
    step_id: StepId | None = None


REPLY: TypeAdapter[Done | Refused] = TypeAdapter(Annotated[Done | Refused, Field(discriminator="kind")])
