"""Operations on webhooks, shared by both clients. Does no I/O."""

from __future__ import annotations

from uuid import UUID

from pixelflow.client.api_calls import get, post
from pixelflow.client.arguments import to_uuid
from pixelflow.client.models import Operation
from pixelflow.client.session import Session
from pixelflow.contracts.webhook_endpoints import WebhookSecret
from pixelflow.contracts.webhooks import DeliveryList, ReplayedEvent, RotatedSecret


def list_deliveries(session: Session, job_id: UUID | str) -> Operation[DeliveryList]:
    """Return the latest delivery attempts of a job's webhooks, newest first.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for a job of another user.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, f"/v1/jobs/{to_uuid(job_id, 'job_id')}/deliveries", DeliveryList))


def replay_delivery(session: Session, delivery_id: UUID | str) -> Operation[ReplayedEvent]:
    """Send the event of a delivery again, with the same ``webhook-id``.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for a delivery of another user.
        ConnectionFailedError: no response.
    """
    return (yield from post(session, f"/v1/deliveries/{to_uuid(delivery_id, 'delivery_id')}/replay", ReplayedEvent))


def create_webhook_secret(session: Session) -> Operation[WebhookSecret]:
    """Return the secret that signs your webhooks, which is shown only once.

    Raises:
        ApiError: the API rejected the request; ``webhook_secret_exists`` if it was shown before.
        ConnectionFailedError: no response.
    """
    return (yield from post(session, "/v1/webhook-secret", WebhookSecret))


def rotate_webhook_secret(session: Session) -> Operation[RotatedSecret]:
    """Create a new webhook secret, which is returned only once. The previous one also signs webhooks for a day.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    return (yield from post(session, "/v1/webhook-secret/rotate", RotatedSecret))
