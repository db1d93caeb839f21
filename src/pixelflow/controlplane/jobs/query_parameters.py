"""The filters in the query of a request that lists jobs."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request
from pydantic import AwareDatetime

from pixelflow.contracts.field_errors import validation_failed
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.contracts.presets import PresetReference, parse_reference
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.errors import FieldError

PREFIX = "metadata."
MAX_METADATA = 8
"""Conditions on metadata in one request."""
METADATA_PARAMETER: dict[str, Any] = {
    "name": "metadata",
    "in": "query",
    "required": False,
    "style": "form",
    "explode": True,
    "schema": {
        "type": "object",
        "title": "Metadata",
        "maxProperties": MAX_METADATA,
        "patternProperties": {r"^metadata\.": {"type": "string"}},
        "additionalProperties": False,
    },
    "description": "Values that the metadata of a job has: a parameter of its own for each, such as "
    "`metadata.sku=A-17`. A value must be equal, with the same case.",
    "example": {"metadata.sku": "A-17"},
}
"""For the OpenAPI document: FastAPI knows no parameters whose names vary."""


async def job_filters(
    request: Request,
    *,
    status: JobStatus | None = None,
    created_after: Annotated[
        AwareDatetime | None,
        Query(description="Only jobs created at this time or later.", examples=["2026-11-23T00:00:00Z"]),
    ] = None,
    created_before: Annotated[
        AwareDatetime | None,
        Query(description="Only jobs created before this time.", examples=["2026-11-24T00:00:00Z"]),
    ] = None,
    preset: Annotated[
        PresetReference | None,
        Query(description="Only jobs of this preset, in any version: or in one, as in `avatar@3`."),
    ] = None,
    batch: Annotated[UUID | None, Query(description="Only jobs of this batch.")] = None,
) -> JobFilters:
    """Return the filters.

    Raises:
        ValidationFailedError: a parameter is not valid.
    """
    return JobFilters(
        status=status,
        created_after=created_after,
        created_before=created_before,
        metadata=_metadata(request),
        preset=parse_reference(preset) if preset else None,
        batch_id=batch,
    )


def _metadata(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    errors = []
    for name, value in request.query_params.multi_items():
        if name == "metadata":
            errors.append(FieldError(pointer="/query/metadata", message="must name a value, as in `metadata.sku=A-17`"))
        if not name.startswith(PREFIX):
            continue
        key = name.removeprefix(PREFIX)
        if not key or "\x00" in name + value or found.setdefault(key, value) != value:
            errors.append(FieldError(pointer="/query/metadata", message="must have one value per name, and no NUL"))
    if len(found) > MAX_METADATA:
        errors.append(FieldError(pointer="/query/metadata", message=f"must have at most {MAX_METADATA} conditions"))
    if errors:
        raise validation_failed(list(dict.fromkeys(errors)))
    return found
