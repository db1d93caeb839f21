"""Operations on presets, shared by both clients. Does no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pixelflow.client.api_calls import delete, get, post
from pixelflow.client.arguments import require, to_mapping, to_steps
from pixelflow.client.models import Operation
from pixelflow.client.operations import Steps, validated
from pixelflow.client.session import Session
from pixelflow.contracts.presets import CreatePresetRequest, Preset, PresetList


def save_preset(
    session: Session,
    name: str,
    pipeline: Steps,
    *,
    parameters: Mapping[str, Any] | None = None,
    description: str | None = None,
) -> Operation[Preset]:
    """Create a preset, or a new version of it; return the version. The same content again makes no new version.

    Args:
        session: of the client.
        name: of the preset.
        pipeline: steps; the value of a field can be a parameter, such as ``"${size}"``.
        parameters: declarations by name, such as ``{"size": {"type": "integer", "default": 320}}``.
        description: for people.

    Raises:
        InvalidRequestError: the request is not valid; nothing was sent.
        ApiError: the API rejected the request; ``too_many_presets`` if a limit is reached.
        ConnectionFailedError: no response.
    """
    raw: dict[str, Any] = {"name": name, "pipeline": to_steps(pipeline)}
    if parameters:
        raw["parameters"] = to_mapping(parameters, "parameters", '{"size": {"type": "integer"}}')
    if description is not None:
        raw["description"] = description
    request = validated(CreatePresetRequest, raw, message="The preset is not valid")
    body = request.model_dump_json(by_alias=True, exclude_unset=True).encode()
    return (yield from post(session, "/v1/presets", Preset, body))


def get_preset(session: Session, preset: str) -> Operation[Preset]:
    """Return a version of a preset, such as ``avatar@3``, or the latest one of ``avatar``; and the list of versions.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for a preset of another user.
        ConnectionFailedError: no response.
    """
    return (
        yield from get(
            session, f"/v1/presets/{quote(require(preset, str, 'preset', 'the name of a preset'), safe='@')}", Preset
        )
    )


def list_presets(session: Session) -> Operation[PresetList]:
    """Return the latest version of each preset, by name.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, "/v1/presets", PresetList))


def delete_preset(session: Session, name: str) -> Operation[None]:
    """Delete a preset with all its versions. Jobs keep what they used.

    Raises:
        ApiError: the API rejected the request; ``not_found`` if there is none.
        ConnectionFailedError: no response.
    """
    yield from delete(session, f"/v1/presets/{quote(require(name, str, 'name', 'the name of a preset'), safe='')}")
