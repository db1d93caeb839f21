"""The response of ``GET /v1/capabilities``: what an installation can do, in which versions, and within which limits."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from pixelflow.contracts.responses import ResponseModel

_Requires = Annotated[
    str | None, Field(description="Optional capability that a worker needs for it. Null: every worker has it.")
]
_Available = Annotated[
    bool | None, Field(description="Whether a live worker can do it. Null if no worker is live at present.")
]


class OperationCapability(ResponseModel):
    """An operation of pipelines."""

    model_config = ConfigDict(populate_by_name=True)

    action: str
    summary: str
    since: Annotated[int, Field(description="The contract that introduced it.")]
    schema_: Annotated[
        str, Field(alias="schema", description="JSON Schema of the step, in the OpenAPI document of this API.")
    ]


class InputFormatCapability(ResponseModel):
    """A format of sources."""

    format: str
    label: Annotated[str, Field(description="Name for people.")]
    media_type: str
    requires: _Requires
    available: _Available


class OutputFormatCapability(ResponseModel):
    """A format of outputs."""

    format: str
    aliases: Annotated[list[str], Field(description="Other names that requests may use.")]
    label: Annotated[str, Field(description="Name for people.")]
    media_type: str
    extension: Annotated[str, Field(description="Of file names, without a dot.")]
    since: Annotated[int, Field(description="The contract that introduced it.")]
    max_side: Annotated[int, Field(description="Longest side in pixels.")]
    transparency: bool
    animation: bool
    default_quality: Annotated[int | None, Field(description="Null: the format has no quality.")]
    encoder: Annotated[dict[str, Any], Field(description="JSON Schema of the step's `encoder`.")]
    requires: _Requires
    available: _Available


class InstallationLimits(ResponseModel):
    """Limits of requests, sources and outputs, as the API's settings have them."""

    body_bytes: Annotated[int, Field(description="Size of a request body.")]
    steps: Annotated[int, Field(description="Steps of a pipeline.")]
    dimension: Annotated[int, Field(description="Width or height that a step may request, in pixels.")]
    metadata_keys: int
    source_bytes: int
    source_pixels: Annotated[int, Field(description="Width × height × frames that are decoded.")]
    output_pixels: Annotated[int, Field(description="Width × height × frames of the result of a step.")]
    job_output_pixels: Annotated[int, Field(description="Pixels of the results of all steps together.")]
    output_bytes: Annotated[int, Field(description="Size of all outputs of a job.")]
    jpeg_scans: Annotated[int, Field(description="Scans of a progressive JPEG.")]
    transform_seconds: Annotated[float, Field(description="Time of one transform.")]


class OptionalCapability(ResponseModel):
    """A capability that depends on the installation of a worker."""

    name: str
    workers: Annotated[int, Field(description="Live workers that have it.")]


class WorkerCapabilities(ResponseModel):
    """Live workers that are capable of the same."""

    workers: Annotated[int, Field(description="Number of them.")]
    slots: Annotated[int, Field(description="Transforms that they can run at once.")]
    degraded: Annotated[int, Field(description="How many of them claim no jobs at present.")]
    contract: Annotated[int, Field(description="The newest contract that they support.")]
    optional: Annotated[list[str], Field(description="Their optional capabilities.")]
    libvips: Annotated[str | None, Field(description="Version of libvips.", examples=["8.18.2"])]
    release: Annotated[str | None, Field(description="Release of PixelFlow.")]


class Installation(ResponseModel):
    """The response to ``GET /v1/capabilities``."""

    release: Annotated[str, Field(description="Release of the API.")]
    contract: Annotated[int, Field(description="The newest contract that the API accepts.")]
    operations: list[OperationCapability]
    input_formats: list[InputFormatCapability]
    output_formats: list[OutputFormatCapability]
    limits: InstallationLimits
    optional: Annotated[list[OptionalCapability], Field(description="All optional capabilities.")]
    workers: Annotated[list[WorkerCapabilities], Field(description="The live workers, grouped.")]
