"""Messages that wake workers. They carry no authority: a worker claims from the database and ignores their content."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field

QUEUE = "images"


def task_id_of(job_id: UUID, run: int) -> UUID:
    """Return the ID of a run of a job: the same for each start of that run."""
    return uuid5(job_id, str(run))


SCHEMA = "pixelflow.process_image"
VERSION = 1
"""The version that this release sends."""


class ProcessImage(BaseModel):
    """Version 1: a job was queued."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, json_schema_serialization_defaults_required=True
    )

    schema_: Annotated[Literal["pixelflow.process_image"], Field(alias="schema")] = "pixelflow.process_image"
    version: Literal[1] = 1
    job_id: UUID
    requested_at: datetime
    traceparent: Annotated[str | None, Field(description="W3C Trace Context of the request that queued the job.")] = (
        None
    )
