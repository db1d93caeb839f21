"""What the API can be asked about webhooks; as in ``operations``, each operation is told once for both clients."""

from __future__ import annotations

from uuid import UUID

from pixelflow.client.calls import answered, post
from pixelflow.client.exchange import Operation, Request
from pixelflow.client.retries import send
from pixelflow.client.session import Session
from pixelflow.contracts.webhooks import DeliveryList, ReplayedEvent, RotatedSecret


def list_deliveries(session: Session, job_id: UUID | str) -> Operation[DeliveryList]:
    """The newest tries at delivering the webhooks of a job, newest first.

    Raises:
        ApiError: the API refused; ``not_found`` also for a job of somebody else.
        ConnectionFailedError: no answer.
    """
    url = session.url(f"/v1/jobs/{UUID(str(job_id))}/deliveries")
    response = yield from send(session, Request("GET", url, session.headers()))
    return answered(response, DeliveryList)


def replay_delivery(session: Session, delivery_id: UUID | str) -> Operation[ReplayedEvent]:
    """Have a delivery's event sent again, by the same ``webhook-id``.

    Raises:
        ApiError: the API refused; ``not_found`` also for a delivery of somebody else.
        ConnectionFailedError: no answer.
    """
    response = yield from post(session, f"/v1/deliveries/{UUID(str(delivery_id))}/replay")
    return answered(response, ReplayedEvent)


def rotate_webhook_secret(session: Session) -> Operation[RotatedSecret]:
    """A new secret to verify webhooks with, shown this once; the one before it signs beside it for a day.

    Raises:
        ApiError: the API refused.
        ConnectionFailedError: no answer.
    """
    response = yield from post(session, "/v1/webhook-secret/rotate")
    return answered(response, RotatedSecret)
