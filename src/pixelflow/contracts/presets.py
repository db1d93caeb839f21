"""Presets, the named pipelines of a user: the requests and responses of ``/v1/presets``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pixelflow.contracts.preset_templates import (
    MAX_PARAMETERS,
    Parameter,
    ParameterName,
    ParameterValues,
    check_template,
    placeholders,
)
from pixelflow.contracts.responses import ResponseModel
from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.pipeline import MAX_STEPS

PRESET_NAME_PATTERN = r"^[a-z0-9-]{1,64}$"
PRESET_REFERENCE_PATTERN = r"^[a-z0-9-]{1,64}(@[1-9][0-9]{0,5})?$"
MAX_PIPELINE_BYTES = 32_768
"""Of a preset's pipeline as JSON; a pipeline of 32 steps has about 8 KB."""

PresetName = Annotated[
    str,
    StringConstraints(pattern=PRESET_NAME_PATTERN),
    Field(description="Name of the preset, unique among your presets.", examples=["avatar"]),
]
PresetReference = Annotated[
    str,
    StringConstraints(pattern=PRESET_REFERENCE_PATTERN),
    Field(
        description="Name of one of your presets, for its latest version; or name and version, such as `avatar@3`.",
        examples=["avatar@3"],
    ),
]


class PresetVersionOf(NamedTuple):
    """What a reference names."""

    name: str
    version: int | None
    """``None``: the latest, or any."""


def parse_reference(reference: str) -> PresetVersionOf:
    """Split a valid reference such as ``avatar@3``."""
    name, _, version = reference.partition("@")
    return PresetVersionOf(name, int(version) if version else None)


def _check_pipeline(value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
    steps = handler(value)
    if len(json.dumps(steps)) > MAX_PIPELINE_BYTES:
        raise PydanticCustomError("preset_too_large", f"must have at most {MAX_PIPELINE_BYTES} bytes")
    if (parameters := info.data.get("parameters")) is not None:  # otherwise they are not valid themselves
        check_template(steps, parameters)
    return steps


Template = Annotated[
    list[dict[str, Any]],
    Field(
        min_length=1,
        max_length=MAX_STEPS,
        description='The steps, as in a job. The value of a field can be a parameter, such as `"width": "${size}"`.',
        examples=[[{"id": "thumb", "action": "resize", "width": "${size}"}]],
    ),
    WrapValidator(_check_pipeline),
]
Description = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$"), AfterValidator(str.strip)]


class CreatePresetRequest(BaseModel):
    """The body of ``POST /v1/presets``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: PresetName
    description: Description | None = None
    parameters: Annotated[
        dict[ParameterName, Parameter],
        Field(
            max_length=MAX_PARAMETERS,
            description="The parameters that jobs can set.",
            examples=[{"size": {"type": "integer", "default": 320, "minimum": 16, "maximum": 2048}}],
        ),
    ] = {}
    pipeline: Template

    @model_validator(mode="wrap")
    @classmethod
    def _check_use(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _unused_parameters)


def _unused_parameters(request: object) -> Iterator[CrossFieldError]:
    fields = fields_of(request) or {}
    parameters, pipeline = fields.get("parameters"), fields.get("pipeline")
    if isinstance(parameters, dict) and isinstance(pipeline, list):
        used = {name for _, name in placeholders(pipeline)}
        for name in parameters:
            if name not in used:
                yield ("parameters", name), "is not used in the pipeline"


class PresetVersion(ResponseModel):
    """A version of a preset, without its pipeline."""

    version: int
    description: str | None
    created_at: datetime


class Preset(ResponseModel):
    """A version of a preset. Its content never changes."""

    name: str
    version: Annotated[int, Field(description="Counts from 1. `{name}@{version}` names this version in a job.")]
    description: str | None
    parameters: dict[str, Any]
    pipeline: Annotated[list[dict[str, Any]], Field(description="The steps, as they were sent.")]
    created_at: datetime
    versions: Annotated[
        list[PresetVersion] | None, Field(description="All versions, newest first. Null in the response to a creation.")
    ] = None


class PresetSummary(ResponseModel):
    """The latest version of a preset, without its pipeline."""

    name: str
    version: int
    description: str | None
    parameters: dict[str, Any]
    created_at: datetime


class PresetList(ResponseModel):
    """The response to ``GET /v1/presets``, by name."""

    data: list[PresetSummary]


class JobPreset(ResponseModel):
    """The preset that a job was created with."""

    name: str
    version: int
    parameters: Annotated[ParameterValues, Field(description="The values, those of defaults among them.")]
