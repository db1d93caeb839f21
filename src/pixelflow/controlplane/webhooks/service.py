"""What a user can do with the deliveries of webhooks: look at them, and have an event sent again."""

from __future__ import annotations

from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.contracts.errors import NotFoundError
from pixelflow.contracts.webhooks import Delivery, DeliveryError, DeliveryList, ReplayedEvent
from pixelflow.controlplane.jobs.queries import job_not_found
from pixelflow.controlplane.webhooks import deliveries_store, store

MAX_LISTED = 100


class Webhooks:
    """Every method takes the ``user_id`` that the credentials said."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def deliveries(self, user_id: str, job_id: UUID) -> DeliveryList:
        """The newest tries at delivering the job's events, newest first.

        Raises:
            NotFoundError: the user has no such job.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await deliveries_store.list_newest(connection, job_id=job_id, user_id=user_id, limit=MAX_LISTED)
        if rows is None:
            raise job_not_found()
        return DeliveryList(data=[_view(row) for row in rows])

    async def replay(self, user_id: str, delivery_id: UUID) -> ReplayedEvent:
        """Have the delivery's event sent again, at once and with the whole schedule before it, by the same id.

        Raises:
            NotFoundError: the user has no such delivery.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            row = await store.replay(connection, delivery_id=delivery_id, user_id=user_id)
        if row is None:
            raise NotFoundError("You have no delivery of that id")
        return ReplayedEvent(event_id=row.event_id, job_id=row.job_id, type=row.type, next_attempt_at=row.next_try_at)


def _view(row: deliveries_store.DeliveryRow) -> Delivery:
    return Delivery(
        delivery_id=row.delivery_id,
        event_id=row.event_id,
        type=row.type,
        attempt=row.try_,
        outcome=row.outcome,
        status_code=row.status_code,
        error=DeliveryError(**row.error) if row.error else None,
        latency_ms=row.latency_ms,
        response_excerpt=row.response_excerpt,
        started_at=row.started_at,
        next_attempt_at=row.next_try_at,
    )
