"""HTTP routes of presets."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Path, Response
from pydantic import WrapValidator

from pixelflow import errors
from pixelflow.contracts.presets import CreatePresetRequest, Preset, PresetList
from pixelflow.controlplane.api import examples
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsJobs, WritesJobs
from pixelflow.controlplane.api.problems import documented, validate_body
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.idempotency.calls import IDEMPOTENCY_ERRORS, IdempotentCallOf

router = APIRouter(
    prefix="/v1/presets", tags=["presets"], route_class=AuthenticatedRoute, responses=documented(*COMMON_ERRORS)
)
_UNCHANGED = 200
_SAME: dict[int | str, dict[str, Any]] = {
    _UNCHANGED: {"model": Preset, "description": "The latest version has the same content"}
}

# The annotation documents the body; the dependency validates it, because FastAPI does not check its size.
_RawPresetRequest = Annotated[
    CreatePresetRequest, WrapValidator(lambda value, _: value), Body(openapi_examples=examples.SAVE_PRESET)
]


async def _preset_request(body: _RawPresetRequest) -> CreatePresetRequest:
    return validate_body(CreatePresetRequest, body, context=None)


@router.post(
    "",
    status_code=201,
    summary="Save a preset",
    responses=_SAME
    | documented(
        *IDEMPOTENCY_ERRORS,
        errors.MalformedRequestError,
        errors.TooManyPresetsError,
        errors.BodyTooLargeError,
        errors.NotFoundError,
        errors.UnsupportedMediaTypeError,
        errors.ValidationFailedError,
    ),
)
async def save_preset(
    identity: WritesJobs,
    services: ServicesOf,
    call: IdempotentCallOf,
    response: Response,
    preset: Annotated[CreatePresetRequest, Depends(_preset_request)],
) -> Preset:
    """Create a preset, or a new version of it. Jobs use it by its name, or by name and version."""

    async def save(_: UUID) -> Preset:
        saved, is_new = await services.presets.save(identity.user_id, preset)
        if not is_new:
            response.status_code = _UNCHANGED
        return saved

    return await call.run(identity, Preset, save)


@router.get("", summary="List presets")
async def list_presets(identity: ReadsJobs, services: ServicesOf) -> PresetList:
    """List the latest versions of your presets, by name."""
    return await services.presets.list_all(identity.user_id)


@router.get("/{preset}", summary="Show a preset", responses=documented(errors.NotFoundError))
async def get_preset(
    identity: ReadsJobs,
    services: ServicesOf,
    preset: Annotated[str, Path(description="Name, for the latest version, or name and version: `avatar@3`.")],
) -> Preset:
    """Return a version of a preset, and the list of all its versions."""
    return await services.presets.get(identity.user_id, preset)


@router.delete("/{preset}", status_code=204, summary="Delete a preset", responses=documented(errors.NotFoundError))
async def delete_preset(
    identity: WritesJobs, services: ServicesOf, preset: Annotated[str, Path(description="Name of the preset.")]
) -> None:
    """Delete a preset with all its versions. Jobs keep the pipeline that they were created with."""
    await services.presets.delete(identity.user_id, preset)
