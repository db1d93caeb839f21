"""Webhooks: what a receiver gets, and what the owner of a job learns of its delivery.

Headers and signature are those of Standard Webhooks (standardwebhooks.com, specification 1.0.0).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from pixelflow.contracts.jobs import Job

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
SECRET_PREFIX = "whsec_"  # noqa: S105  # how every secret begins


class EventType(StrEnum):
    """What became of a run of a job."""

    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELED = "job.canceled"


class DeliveryOutcome(StrEnum):
    """What one try came to."""

    DELIVERED = "delivered"
    """The receiver answered 2xx."""
    RETRIED = "retried"
    """It did not; there is a further try."""
    EXHAUSTED = "exhausted"
    """It did not, and this was the last try."""
    REFUSED = "refused"
    """There is no further try: the receiver answered 410, or PixelFlow does not call the address."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Event(_Model):
    """The body of a webhook."""

    type: EventType
    timestamp: Annotated[datetime, Field(description="When it happened.")]
    data: Annotated[Job, Field(description="The job as `GET /v1/jobs/{id}` tells it at the time of the try.")]


class DeliveryError(_Model):
    """Why a try brought no answer."""

    code: Annotated[str, Field(examples=["target_timeout"])]
    message: str


class Delivery(_Model):
    """One try at delivering an event."""

    delivery_id: UUID
    event_id: Annotated[str, Field(description="The `webhook-id`: the same on every try and replay.")]
    type: EventType
    attempt: Annotated[int, Field(description="Counts the tries, from 1; a replay begins anew.")]
    outcome: DeliveryOutcome
    status_code: Annotated[int | None, Field(description="Of the receiver's answer; null if there was none.")]
    error: Annotated[DeliveryError | None, Field(description="Why there was no answer.")]
    latency_ms: int
    response_excerpt: Annotated[str | None, Field(description="The first bytes of the answer, made printable.")]
    started_at: datetime
    next_attempt_at: Annotated[datetime | None, Field(description="Of the event; null when none is planned.")]


class DeliveryList(_Model):
    """The answer to ``GET /v1/jobs/{id}/deliveries``: newest first."""

    data: list[Delivery]


class ReplayedEvent(_Model):
    """The answer to ``POST /v1/deliveries/{id}/replay``."""

    event_id: Annotated[str, Field(description="The `webhook-id`, which is what it was.")]
    job_id: UUID
    type: EventType
    status: Literal["pending"] = "pending"
    next_attempt_at: datetime


class RotatedSecret(_Model):
    """The answer to ``POST /v1/webhook-secret/rotate``."""

    secret: Annotated[str, Field(description="Shown once; every webhook from now on is signed with it.", repr=False)]
    previous_valid_until: Annotated[
        datetime | None, Field(description="Until then the one before it signs too; null if there was none.")
    ]
