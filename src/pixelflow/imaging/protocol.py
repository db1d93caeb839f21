"""The protocol between a worker and its transform children: one JSON line per message, descriptors beside it.

    worker → child   TransformRequest, with descriptors: the source to read, the file to append outputs to, and the
                     assets to read, in the order of the request
    child → worker   Planned, or Refused
    worker → child   PROCEED, once the memory is free
    child → worker   Rendered, or Refused

A malicious image may have taken a child over, so the worker trusts nothing in a reply: these models validate every
reply, each must carry the request's ID, and nothing is unpickled.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from pixelflow.imaging.fields import StepId
from pixelflow.imaging.formats.registry import OutputFormat
from pixelflow.imaging.pipeline import MAX_STEPS, Pipeline
from pixelflow.imaging.pipeline_assets import MAX_ASSETS
from pixelflow.imaging.source_options import SourceOptions

PROCEED = b"proceed\n"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


RequestId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""Random, so that a reply to an earlier request can't pass for the reply to this one."""


class TransformLimits(_Message):
    """Limits of one transform."""

    max_source_pixels: int
    """Width × height of the source, in pixels, summed over all frames."""
    max_output_pixels: int
    """Width × height of any image that a step makes."""
    max_output_bytes: int
    """Size of all outputs together."""
    max_job_output_pixels: int = 400_000_000
    """Width × height of the results of all steps together."""
    max_frames: int = 1000
    """Frames of the source that are decoded, with the earlier ones that a frame depends on."""
    max_jpeg_scans: int = 500
    """Scans of a progressive JPEG. Each costs a pass over the whole picture, even if it has few bytes."""


class RequestedAsset(_Message):
    """An asset of the user that steps read; its file comes as a descriptor."""

    name: StepId
    """As the steps name it."""


class TransformRequest(_Message):
    """A request to make a pipeline's outputs from a source file."""

    request_id: RequestId
    pipeline: Pipeline
    source: SourceOptions = SourceOptions()
    limits: TransformLimits
    assets: Annotated[list[RequestedAsset], Field(max_length=MAX_ASSETS)] = []


class RenderedSource(_Message):
    """Properties of the source, as decoded."""

    format: Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")]
    width: Annotated[int, Field(ge=1)]
    """Pixels, after EXIF orientation."""
    height: Annotated[int, Field(ge=1)]
    frames: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1
    """Frames or pages in the file."""


class WarningCode(StrEnum):
    """Stable codes of warnings."""

    SOURCE_DAMAGED = "source_damaged"
    NO_FACES_FOUND = "no_faces_found"
    GAIN_MAP_DROPPED = "gain_map_dropped"


class TransformWarning(_Message):
    """What the owner of the job should know of a transform that succeeded."""

    code: WarningCode
    message: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f\x7f]*$")]
    step_id: StepId | None = None


class RenderedOutput(_Message):
    """An output. The file of outputs holds them one after another, in the order of ``offset``."""

    step_id: StepId
    format: OutputFormat
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    offset: Annotated[int, Field(ge=0)]
    """Bytes before it in the file."""
    bytes: Annotated[int, Field(ge=1)]


class StepTime(_Message):
    """Start and end of a step, in microseconds since the transform began. For traces only; no decision depends on it.

    libvips computes lazily: the source of a single step is decoded while that step writes its output.
    """

    step_id: StepId
    """``source`` for the work before the first step; includes decoding if several steps use the source."""
    start_us: Annotated[int, Field(ge=0)]
    end_us: Annotated[int, Field(ge=0)]


class Planned(_Message):
    """The reply to a request whose source was opened and whose steps were planned; no pixel is decoded yet."""

    kind: Literal["planned"] = "planned"
    request_id: RequestId
    memory_bytes: Annotated[int, Field(ge=0)]
    """Estimate of the child's peak memory (`imaging.memory`)."""


class Rendered(_Message):
    """The reply to a request that succeeded."""

    kind: Literal["rendered"] = "rendered"
    request_id: RequestId
    source: RenderedSource
    outputs: list[RenderedOutput]
    """In pipeline order, without intermediates."""
    warnings: Annotated[list[TransformWarning], Field(max_length=len(WarningCode) * MAX_STEPS)] = []
    """Each code at most once for each step."""
    times: Annotated[list[StepTime], Field(max_length=MAX_STEPS + 1)] = []
    """The source, then the steps that lead to an output, in the order in which they ran."""


class Refused(_Message):
    """The reply to a request that failed, with the code of a :class:`~pixelflow.errors.JobError`."""

    kind: Literal["refused"] = "refused"
    request_id: RequestId
    code: Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")]
    detail: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f\x7f]*$")]
    step_id: StepId | None = None


REPLY: TypeAdapter[Planned | Rendered | Refused] = TypeAdapter(
    Annotated[Planned | Rendered | Refused, Field(discriminator="kind")]
)
