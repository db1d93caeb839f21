"""Events of the live streams of jobs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from pixelflow.contracts.jobs.responses import JobFailure
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.contracts.responses import Open, ResponseModel


class JobEventType(StrEnum):
    """What happened; also the ``event`` field of the stream."""

    STATUS = "status"
    """The status of the job, or its number of attempts, changed."""
    PROGRESS = "progress"
    """The stage of the present attempt changed, or its percentage."""
    ERASED = "erased"
    """The job was erased. It is the last event of the job."""


class Stage(StrEnum):
    """What a worker does for a job whose status is ``processing``."""

    FETCHING = "fetching"
    """It reads the source."""
    WAITING = "waiting"
    """It waits for a free slot."""
    TRANSFORMING = "transforming"
    STORING = "storing"
    """It stores the outputs."""


class JobEvent(ResponseModel):
    """The data of one event. It describes the job as it is then: earlier states that nobody read are left out."""

    type: Open[JobEventType]
    job_id: UUID
    status: Open[JobStatus]
    attempts: int
    stage: Annotated[
        Open[Stage] | None, Field(description="What the worker does. Null if the job is not processing, or unknown.")
    ] = None
    percent: Annotated[
        int | None,
        Field(
            ge=0, le=100, description="How much of the stage is done: bytes of the source, or outputs. Null: unknown."
        ),
    ] = None
    error: Annotated[
        JobFailure | None, Field(description="Why the job failed or, while it is queued again, its last attempt.")
    ] = None
    finished_at: datetime | None = None
