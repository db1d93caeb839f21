"""A try whose event is erased or replayed in the very moment in which the try is written."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.integration.webhooks.conftest import Office

from pixelflow.adapters.ids import new_id
from pixelflow.controlplane.webhooks import store
from pixelflow.controlplane.webhooks.store import DeliveryAttempt, DeliveryLimits, LeasedEvent

ROOM = DeliveryLimits(per_host=10, per_user=10)


async def held(office: Office) -> LeasedEvent:
    """An event in a courier's hands."""
    await office.ended_job("http://127.0.0.1/hook")
    return await taken(office)


async def taken(office: Office) -> LeasedEvent:
    """The one event that is due."""
    async with office.database.connection() as connection:
        [event] = await store.take_due(
            connection, now=office.clock(), lease=timedelta(seconds=30), bounds=ROOM, limit=1
        )
    return event


def made(office: Office) -> DeliveryAttempt:
    return DeliveryAttempt(
        delivery_id=new_id(),
        started_at=office.clock(),
        latency_ms=1,
        outcome="delivered",
        status_code=200,
        error=None,
        response_excerpt=None,
        next_try_at=None,
    )


async def recorded(office: Office, event: LeasedEvent) -> bool:
    async with office.database.connection() as connection:
        return await store.record(connection, event, made(office))


async def waits_for_a_lock(office: Office) -> None:
    async with asyncio.timeout(10):
        while not await office.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):  # noqa: ASYNC110  # it is another server that waits
            await asyncio.sleep(0.01)


async def test_if_erased_it_is_not_kept_and_breaks_nothing(office: Office) -> None:
    event = await held(office)
    async with office.database.connection() as erasing, erasing.transaction():
        await erasing.execute("DELETE FROM events WHERE event_id = %s", (event.event_id,))
        writing = asyncio.create_task(recorded(office, event))
        await waits_for_a_lock(office)
    assert await writing is False
    assert await office.rows("SELECT 1 FROM deliveries WHERE event_id = %s", event.event_id) == []


async def test_it_is_kept_where_the_erasure_comes_to_nothing(office: Office) -> None:
    event = await held(office)
    async with office.database.connection() as other, other.transaction(force_rollback=True):
        await other.execute("DELETE FROM events WHERE event_id = %s", (event.event_id,))
        writing = asyncio.create_task(recorded(office, event))
        await waits_for_a_lock(office)
    assert await writing is True
    assert len(await office.rows("SELECT 1 FROM deliveries WHERE event_id = %s", event.event_id)) == 1


async def test_if_replayed_it_is_kept_and_the_event_is_let_go_and_due(office: Office) -> None:
    first = made(office)
    async with office.database.connection() as connection:
        await store.record(connection, await held(office), first)
        await store.replay(connection, delivery_id=first.delivery_id, user_id=office.user_id)
    event = await taken(office)
    async with office.database.connection() as replaying, replaying.transaction():
        await store.replay(replaying, delivery_id=first.delivery_id, user_id=office.user_id)
        writing = asyncio.create_task(recorded(office, event))
        await waits_for_a_lock(office)
    assert await writing is False
    assert len(await office.rows("SELECT 1 FROM deliveries WHERE event_id = %s", event.event_id)) == 2
    again = await taken(office)
    assert (again.event_id, again.tries, again.generation) == (event.event_id, 0, 2)
