"""Use cases of presets: save, show, list, delete; and the pipeline that a preset and its parameters make."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, of_user
from pixelflow.contracts.field_errors import field_errors, validation_failed
from pixelflow.contracts.jobs.destinations import destination_errors
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.preset_templates import (
    Parameter,
    Scalar,
    fill,
    location_of,
    parse_steps,
    placeholders,
    value_message,
)
from pixelflow.contracts.presets import (
    PRESET_REFERENCE_PATTERN,
    CreatePresetRequest,
    Preset,
    PresetList,
    PresetSummary,
    PresetVersion,
    parse_reference,
)
from pixelflow.controlplane.presets import store
from pixelflow.controlplane.presets.store import PresetRow
from pixelflow.errors import FieldError, NotFoundError, TooManyPresetsError, ValidationFailedError
from pixelflow.imaging.step import Step
from pixelflow.settings import Settings

_DELETED_PER_PRESET = 10
"""Names of deleted presets that are remembered, for each preset that a user may have."""
_REFERENCE = re.compile(PRESET_REFERENCE_PATTERN)
_PARAMETERS = TypeAdapter(dict[str, Parameter])


class PresetService:
    """The presets of one user. ``user_id`` comes from the authenticated credentials."""

    def __init__(self, settings: Settings, *, database: AsyncDatabase) -> None:
        self._settings = settings
        self._database = database

    async def save(self, user_id: str, request: CreatePresetRequest) -> tuple[Preset, bool]:
        """Add a version to the preset, unless its latest one is the same. Return the version, and whether it is new.

        Raises:
            TooManyPresetsError: the user would have too many presets, or the preset too many versions.
        """
        parameters = {
            name: parameter.model_dump(mode="json", exclude_unset=True)
            for name, parameter in request.parameters.items()
        }
        async with self._database.connection(of_user(user_id)) as connection, connection.transaction():
            await store.lock(connection, user_id=user_id)
            latest = await store.find(connection, user_id=user_id, name=request.name)
            content = (request.description, parameters, request.pipeline)
            if latest and _is_same(content, (latest.description, latest.parameters, latest.pipeline)):
                return to_response(latest), False
            await self._check_limits(connection, user_id, request.name)
            row = await store.insert_version(
                connection,
                user_id=user_id,
                name=request.name,
                description=request.description,
                parameters=parameters,
                pipeline=request.pipeline,
            )
        return to_response(row), True

    async def _check_limits(self, connection: AsyncConnection, user_id: str, name: str) -> None:
        counts = await store.count(connection, user_id=user_id, name=name)
        limit = self._settings.max_presets
        if counts.presets >= limit or counts.deleted >= limit * _DELETED_PER_PRESET:
            raise TooManyPresetsError(f"You can have {limit} presets; delete those that you no longer need")
        if counts.versions >= self._settings.max_preset_versions:
            raise TooManyPresetsError(
                f"A preset can have {self._settings.max_preset_versions} versions; delete it, or use another name"
            )

    async def get(self, user_id: str, reference: str) -> Preset:
        """Return a version of a preset, the latest one if ``reference`` is a name, and the list of all versions.

        Raises:
            NotFoundError: the user has no such preset.
        """
        if not _REFERENCE.fullmatch(reference):  # Postgres can't compare a string with NUL
            raise preset_not_found()
        name, version = parse_reference(reference)
        async with self._database.connection(of_user(user_id)) as connection:
            row = await _find(connection, user_id, name, version)
            if row is None:
                raise preset_not_found()
            versions = await store.list_versions(connection, user_id=user_id, name=name)
        return to_response(row).model_copy(update={"versions": [PresetVersion(**each) for each in versions]})

    async def list_all(self, user_id: str) -> PresetList:
        """Return the latest version of each preset of the user, by name."""
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await store.list_latest(connection, user_id=user_id)
        return PresetList(data=[PresetSummary(**row) for row in rows])

    async def delete(self, user_id: str, name: str) -> None:
        """Delete the preset with all its versions. Jobs keep what they used.

        Raises:
            NotFoundError: the user has no such preset.
        """
        if "@" in name or not _REFERENCE.fullmatch(name):
            raise preset_not_found()
        async with self._database.connection(of_user(user_id)) as connection:
            if not await store.delete(connection, user_id=user_id, name=name):
                raise preset_not_found()


def preset_not_found() -> NotFoundError:
    """Return the error for a preset that does not exist or belongs to another user: callers can't distinguish them."""
    return NotFoundError("You have no preset with this name and version")


def to_response(row: PresetRow) -> Preset:
    """Convert a row to the API's preset."""
    return Preset(**vars(row))


def _is_same(content: object, other: object) -> bool:
    """Whether both are the same JSON. In Python, 1 equals 1.0 and True."""
    return json.dumps(content, sort_keys=True) == json.dumps(other, sort_keys=True)


async def _find(connection: AsyncConnection, user_id: str, name: str, version: int | None) -> PresetRow | None:
    if version is None:
        return await store.find(connection, user_id=user_id, name=name)
    return await store.find_version(connection, user_id=user_id, name=name, version=version)


# ── Presets of jobs ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class AppliedPreset:
    """The preset that a job uses, and its parameters with their defaults."""

    name: str | None = None
    """``None``: the job has a pipeline of its own."""
    version: int | None = None
    parameters: Mapping[str, Scalar] = field(default_factory=dict)


async def find_for_job(connection: AsyncConnection, user_id: str, reference: str) -> PresetRow:
    """Return the version of the preset that ``reference`` names.

    Raises:
        ValidationFailedError: the user has no such preset.
    """
    row = await _find(connection, user_id, *parse_reference(reference))
    if row is None:
        missing = FieldError(pointer="/preset", message="must be a preset of yours; GET /v1/presets lists them")
        raise validation_failed([missing])
    return row


async def apply(
    connection: AsyncConnection, user_id: str, request: CreateJobRequest, reference: str
) -> tuple[CreateJobRequest, AppliedPreset]:
    """Return the request with the pipeline of the preset that ``reference`` names.

    Raises:
        ValidationFailedError: the user has no such preset, or the parameters are not valid for it.
    """
    row = await find_for_job(connection, user_id, reference)
    values, steps = fill_in(row, request.parameters)
    applied = request.model_copy(update={"pipeline": steps})
    _check_destination(applied)
    return applied, AppliedPreset(row.name, row.version, values)


def fill_in(row: PresetRow, parameters: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], list[Step]]:
    """Return the values of all parameters, and the pipeline with them.

    Raises:
        ValidationFailedError: the parameters are not valid for the preset.
    """
    values = _values(row, parameters)
    return values, _make_steps(row, values)


def _check_destination(request: CreateJobRequest) -> None:
    """Check what the validation of a request could not: it had no steps.

    Raises:
        ValidationFailedError: outputs of the preset can't be stored at the destination.
    """
    if request.destination is None:
        return
    errors = [
        FieldError(pointer="/" + "/".join(map(str, location)), message=message)
        for location, message in destination_errors(request.destination, request.pipeline, request.metadata)
    ]
    if errors:
        raise validation_failed(errors)


def _values(row: PresetRow, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The values of all parameters.

    Raises:
        ValidationFailedError: an unknown, missing or invalid parameter.
    """
    parameters = _PARAMETERS.validate_python(row.parameters)
    known = ", ".join(f"`{name}`" for name in parameters) or "none"
    found = [
        FieldError(pointer=f"/parameters/{name}", message=f"is not a parameter of the preset, which has {known}")
        for name in given
        if name not in parameters
    ]
    values: dict[str, Scalar] = {}
    for name, parameter in parameters.items():
        value = given.get(name, parameter.default)
        message = "is required by the preset" if value is None else value_message(parameter, value)
        if message:
            found.append(FieldError(pointer=f"/parameters/{name}", message=message))
        elif value is not None:
            values[name] = value
    if found:
        raise validation_failed(found)
    return values


def _make_steps(row: PresetRow, values: Mapping[str, Scalar]) -> list[Step]:
    """The pipeline with the values in place of the parameters.

    Raises:
        ValidationFailedError: a value is not valid where the pipeline has it. Errors of fields that are not parameters
            point into the pipeline of the preset.
    """
    filled: list[dict[str, Any]] = fill(row.pipeline, values)
    try:
        return parse_steps(filled)
    except ValidationError as error:
        raise _pointing_to_parameters(row, filled, error) from None


def _pointing_to_parameters(
    row: PresetRow, filled: list[dict[str, Any]], error: ValidationError
) -> ValidationFailedError:
    names = dict(placeholders(row.pipeline))
    found: list[FieldError] = []
    for each in error.errors(include_url=False):
        at = location_of(each)
        [translated] = field_errors(
            [{**each, "loc": ("pipeline", *each["loc"])}], {"pipeline": filled}, CreateJobRequest
        )
        name = next((names[at[:length]] for length in range(len(at), 0, -1) if at[:length] in names), None)
        pointer = f"/parameters/{name}" if name else translated.pointer
        found.append(FieldError(pointer=pointer, message=translated.message))
    return validation_failed(list(dict.fromkeys(found)))
