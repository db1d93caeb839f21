"""Webhooks: the events that a receiver gets, and the deliveries that their owner can list.

Headers and signature follow Standard Webhooks (standardwebhooks.com, specification 1.0.0).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from pixelflow.contracts.batches import Batch
from pixelflow.contracts.jobs.responses import Job
from pixelflow.contracts.responses import Open, ResponseModel

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
SECRET_PREFIX = "whsec_"  # noqa: S105  # the prefix, not a secret


class EventType(StrEnum):
    """What happened: the result of a run of a job, or the end of a batch."""

    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELED = "job.canceled"
    BATCH_FINISHED = "batch.finished"


_OfJobs = Literal[EventType.COMPLETED, EventType.FAILED, EventType.CANCELED]


class DeliveryOutcome(StrEnum):
    """The result of one delivery attempt."""

    DELIVERED = "delivered"
    """The receiver responded with 2xx."""
    RETRIED = "retried"
    """The attempt failed; another one follows."""
    EXHAUSTED = "exhausted"
    """The attempt failed and was the last one."""
    REFUSED = "refused"
    """No attempt follows: the receiver responded with 410, or requests to the address are not allowed."""


class Event(ResponseModel):
    """The body of a webhook about a job."""

    type: Open[_OfJobs]
    timestamp: Annotated[datetime, Field(description="When the event occurred.")]
    data: Annotated[Job, Field(description="The job as `GET /v1/jobs/{id}` returns it at the time of the attempt.")]


class BatchEvent(ResponseModel):
    """The body of a webhook about a batch."""

    type: Literal["batch.finished"]
    timestamp: Annotated[datetime, Field(description="When the event occurred.")]
    data: Annotated[
        Batch, Field(description="The batch as `GET /v1/batches/{id}` returns it at the time of the attempt.")
    ]


class DeliveryError(ResponseModel):
    """Why an attempt got no response."""

    code: Annotated[str, Field(examples=["target_timeout"])]
    message: str


class Delivery(ResponseModel):
    """One attempt to deliver an event."""

    delivery_id: UUID
    event_id: Annotated[str, Field(description="The `webhook-id`: the same for every attempt and replay.")]
    endpoint_id: Annotated[
        UUID | None,
        Field(description="The webhook endpoint of the event. Null: the event is for a `webhook_url`."),
    ] = None
    type: Annotated[Open[EventType], Field(description="`webhook.test` for a test event.")]
    attempt: Annotated[int, Field(description="Number of the attempt, from 1. A replay starts again at 1.")]
    outcome: Open[DeliveryOutcome]
    status_code: Annotated[
        int | None, Field(description="HTTP status of the receiver's response. Null without a response.")
    ]
    error: Annotated[DeliveryError | None, Field(description="Why there was no response. Null with a response.")]
    latency_ms: Annotated[int, Field(description="Duration of the attempt in milliseconds.")]
    response_excerpt: Annotated[str | None, Field(description="First bytes of the response body, made printable.")]
    started_at: datetime
    next_attempt_at: Annotated[
        datetime | None, Field(description="When the next attempt of the event is due. Null if none is scheduled.")
    ]


class DeliveryList(ResponseModel):
    """The response to ``GET /v1/jobs/{id}/deliveries`` and its like, newest first."""

    data: list[Delivery]


class ReplayedEvent(ResponseModel):
    """The response to ``POST /v1/deliveries/{id}/replay``."""

    event_id: Annotated[str, Field(description="The `webhook-id`, unchanged.")]
    job_id: Annotated[UUID | None, Field(description="The job of the event. Null: the event has a batch.")]
    batch_id: Annotated[UUID | None, Field(description="The batch of the event. Null: the event has a job.")] = None
    type: Open[EventType]
    status: Annotated[str, Field(examples=["pending"])] = "pending"
    next_attempt_at: datetime


class RotatedSecret(ResponseModel):
    """The response to ``POST /v1/webhook-secret/rotate``."""

    secret: Annotated[
        str,
        Field(description="The new secret, which signs all webhooks from now on. It is shown only once.", repr=False),
    ]
    previous_valid_until: Annotated[
        datetime | None,
        Field(description="Until then, webhooks are also signed with the previous secret. Null if there was none."),
    ]
