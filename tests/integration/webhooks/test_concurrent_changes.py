"""An event that is erased or replayed while an attempt is recorded."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.integration.webhooks.conftest import Harness
from tests.support.waiting import DEADLINE_SECONDS

from pixelflow.adapters.ids import new_id
from pixelflow.controlplane.webhooks import due_events, store
from pixelflow.controlplane.webhooks.due_events import DeliveryLimits, LeasedEvent
from pixelflow.controlplane.webhooks.store import DeliveryAttempt

LIMITS = DeliveryLimits(per_host=10, per_user=10, per_lane=10)


async def leased_event(harness: Harness) -> LeasedEvent:
    """Create a due event and lease it."""
    await harness.finished_job("http://127.0.0.1/hook")
    return await lease_due(harness)


async def lease_due(harness: Harness) -> LeasedEvent:
    """Lease the one event that is due."""
    now = harness.clock()
    async with harness.database.connection() as connection, connection.transaction():
        lanes, _ = await due_events.longest_due(connection, now=now)
        [event] = await due_events.lease_due(
            connection, lanes, now=now, lease=timedelta(seconds=30), limits=LIMITS, limit=1
        )
    return event


def delivered(harness: Harness) -> DeliveryAttempt:
    return DeliveryAttempt(
        delivery_id=new_id(),
        started_at=harness.clock(),
        latency_ms=1,
        outcome="delivered",
        status_code=200,
        error=None,
        response_excerpt=None,
        next_attempt_at=None,
    )


async def recorded(harness: Harness, event: LeasedEvent) -> bool:
    async with harness.database.connection() as connection:
        return await store.record_attempt(connection, event, delivered(harness))


async def waits_for_a_lock(harness: Harness) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await harness.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):  # noqa: ASYNC110  # polls the server
            await asyncio.sleep(0.01)


async def test_an_attempt_of_an_erased_event_is_not_recorded(harness: Harness) -> None:
    event = await leased_event(harness)
    async with harness.database.connection() as erasing, erasing.transaction():
        await erasing.execute("DELETE FROM events WHERE event_id = %s", (event.event_id,))
        writing = asyncio.create_task(recorded(harness, event))
        await waits_for_a_lock(harness)
    assert await writing is False
    assert await harness.rows("SELECT 1 FROM deliveries WHERE event_id = %s", event.event_id) == []


async def test_an_attempt_is_recorded_if_the_erasure_is_rolled_back(harness: Harness) -> None:
    event = await leased_event(harness)
    async with harness.database.connection() as other, other.transaction(force_rollback=True):
        await other.execute("DELETE FROM events WHERE event_id = %s", (event.event_id,))
        writing = asyncio.create_task(recorded(harness, event))
        await waits_for_a_lock(harness)
    assert await writing is True
    assert len(await harness.rows("SELECT 1 FROM deliveries WHERE event_id = %s", event.event_id)) == 1


async def test_an_attempt_of_a_replayed_event_is_recorded_and_the_event_stays_due(harness: Harness) -> None:
    first = delivered(harness)
    async with harness.database.connection() as connection:
        await store.record_attempt(connection, await leased_event(harness), first)
        await store.replay_event(connection, delivery_id=first.delivery_id, user_id=harness.user_id)
    event = await lease_due(harness)
    async with harness.database.connection() as replaying, replaying.transaction():
        await store.replay_event(replaying, delivery_id=first.delivery_id, user_id=harness.user_id)
        writing = asyncio.create_task(recorded(harness, event))
        await waits_for_a_lock(harness)
    assert await writing is False
    assert len(await harness.rows("SELECT 1 FROM deliveries WHERE event_id = %s", event.event_id)) == 2
    again = await lease_due(harness)
    assert (again.event_id, again.attempts, again.generation) == (event.event_id, 0, 2)
