"""What goes over the queue. A message carries an identity, never authority: what to do is read from the job's row."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

QUEUE = "images"
ACTOR = "process_image"
SCHEMA = "pixelflow.process_image"
VERSIONS = (1,)
"""What a worker of this release understands: its own version and the one before."""


class ProcessImage(BaseModel):
    """Version 1: «look at this job»."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, json_schema_serialization_defaults_required=True
    )

    schema_: Annotated[Literal["pixelflow.process_image"], Field(alias="schema")] = "pixelflow.process_image"
    version: Literal[1] = 1
    job_id: UUID
    requested_at: datetime
    traceparent: Annotated[str | None, Field(description="W3C Trace Context of the request that asked for it.")] = None
