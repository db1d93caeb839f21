"""Queue messages. A message holds only the id of a job: the worker reads what to do from the job's row."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

QUEUE = "images"
ACTOR = "process_image"
SCHEMA = "pixelflow.process_image"
VERSIONS = (1,)
"""Versions that workers of this release accept: the current one and the previous one."""


class ProcessImage(BaseModel):
    """Version 1: process this job, if its row says so."""

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
