"""The end of batches: one event for each receiver, when the batch is closed and its jobs have ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.integration.webhooks.conftest import PIPELINE, Harness
from tests.integration.webhooks.test_dispatcher import verified
from tests.integration.webhooks.test_endpoints import add, change, deliver, types_of
from tests.support.webhook_receiver import receiving

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.connection import TimeLimits
from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, of_user
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.states import FINISHED, JobStatus
from pixelflow.contracts.webhooks import BatchEvent
from pixelflow.controlplane.batches import store
from pixelflow.controlplane.batches.finisher import SECOND_LOOK_SECONDS, BatchFinisher
from pixelflow.controlplane.jobs import store as jobs_store
from pixelflow.controlplane.jobs.store import Insertion, SourcePlace, UploadLimits
from pixelflow.controlplane.webhook_endpoints.service import WebhookEndpoints
from pixelflow.errors import NotFoundError, ResourceBusyError

OWN = "http://127.0.0.1:9/own"


class Batches:
    """The batches of a user, and the loop of one or more controllers."""

    def __init__(self, harness: Harness) -> None:
        self.database, self.user_id = harness.database, harness.user_id

    async def create(self, *statuses: str, closed: bool = True, url: str | None = None) -> UUID:
        """Create a batch with a job for each status."""
        batch_id = new_id()
        own: dict[str, Any] = {"batch_id": batch_id, "user_id": self.user_id}
        async with self.database.connection(of_user(self.user_id)) as connection:
            job = {"pipeline": PIPELINE} | ({"webhook_url": url} if url else {})
            await store.insert(connection, **own, name="cards", job=job)
        for status in statuses:
            async with self.database.connection(of_user(self.user_id)) as connection:
                job_id = new_id()
                assert await insert(connection, self.user_id, batch_id, job_id) is Insertion.INSERTED
                await connection.execute(
                    "UPDATE jobs SET status = %(status)s, finished_at = CASE WHEN %(ended)s THEN now() END"
                    " WHERE job_id = %(job_id)s",
                    {"status": status, "ended": status in FINISHED, "job_id": job_id},
                )
        if closed:
            await self.close(batch_id)
        return batch_id

    async def close(self, batch_id: UUID) -> None:
        async with self.database.connection(of_user(self.user_id)) as connection:
            await store.close(connection, batch_id=batch_id, user_id=self.user_id)

    async def end_jobs(self, batch_id: UUID) -> None:
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE jobs SET status = 'succeeded', finished_at = now() WHERE batch_id = %s", (batch_id,)
            )

    async def check(self, *, controllers: int = 1) -> None:
        """Let all closed batches be due, and all controllers check them at once."""
        async with self.database.connection() as connection:
            await connection.execute("UPDATE batches SET next_check_at = now() WHERE next_check_at IS NOT NULL")
        await asyncio.gather(*(BatchFinisher(self.database).run_once() for _ in range(controllers)))

    async def events(self) -> list[tuple[UUID, str]]:
        """The batch and the URL of each event."""
        async with self.database.connection() as connection:
            cursor = await connection.execute("SELECT batch_id, url FROM events WHERE type = 'batch.finished'")
            return [(row["batch_id"], row["url"]) for row in await cursor.fetchall()]

    async def next_check(self, batch_id: UUID) -> timedelta:
        """The time until the next check."""
        async with self.database.connection() as connection:
            cursor = await connection.execute(
                "SELECT next_check_at - now() AS left FROM batches WHERE batch_id = %s", (batch_id,)
            )
            row = await cursor.fetchone()
        assert row is not None
        left: timedelta = row["left"]
        return left


async def insert(connection: AsyncConnection, user_id: str, batch_id: UUID, job_id: UUID) -> Insertion:
    return await jobs_store.insert(
        connection,
        job_id=job_id,
        user_id=user_id,
        request=CreateJobRequest.model_validate({"pipeline": PIPELINE}),
        place=SourcePlace(f"uploads/{job_id}/source"),
        max_attempts=1,
        limits=UploadLimits(1000, 10**12, undeclared_bytes=1),
        batch_id=batch_id,
    )


@pytest.fixture
async def batches(harness: Harness) -> Batches:
    async with harness.database.connection() as connection:
        await connection.execute("DELETE FROM batches")
    return Batches(harness)


@asynccontextmanager
async def impatient(url: str) -> AsyncIterator[AsyncDatabase]:
    """Connections that don't wait for locks."""
    async with AsyncDatabase(url, max_connections=1, application="test", limits=TimeLimits(5, 0.05)) as database:
        yield database


async def test_a_closed_batch_has_one_event_for_each_receiver_that_wants_it(harness: Harness, batches: Batches) -> None:
    endpoints = WebhookEndpoints(harness.database, max_endpoints=9)
    with receiving() as own, receiving() as everything, receiving() as ends, receiving() as other:
        batch_id = await batches.create("succeeded", "failed", "canceled", closed=False, url=own.url)
        await add(endpoints, harness, everything.url)
        await add(endpoints, harness, ends.url, event_types=["batch.finished"])
        await add(endpoints, harness, other.url, event_types=["job.failed"])
        off = await add(endpoints, harness, f"{other.url}/off")
        await change(endpoints, harness, off, enabled=False)
        same = await add(endpoints, harness, own.url)
        await batches.close(batch_id)
        await batches.check()
        await deliver(harness)
        [secret] = await harness.webhooks.signing_secrets(harness.user_id)
        [body] = [verified(each, secret) for each in own.received]
    assert [types_of(each) for each in (everything, ends, other)] == [["batch.finished"], ["batch.finished"], []]
    event = BatchEvent.model_validate(body)
    assert (event.data.batch_id, event.data.total, event.data.percent) == (batch_id, 3, 100)
    assert body["data"]["jobs"] == dict.fromkeys(JobStatus, 0) | dict.fromkeys(FINISHED, 1)
    assert event.data.closed_at is not None
    assert event.data.finished_at == event.timestamp
    assert "url" not in str(body), "the receiver gets nothing of the request"
    assert (await harness.webhooks.list_endpoint_deliveries(harness.user_id, same)).data == []


async def test_each_batch_finishes_once_with_several_controllers(batches: Batches) -> None:
    made = [await batches.create("succeeded", url=OWN) for _ in range(20)]
    for _ in range(2):
        await batches.check(controllers=3)
    assert sorted(batch_id for batch_id, _ in await batches.events()) == sorted(made)


async def test_a_batch_finishes_neither_before_it_is_closed_nor_before_its_jobs_end(batches: Batches) -> None:
    await batches.create("succeeded", closed=False, url=OWN)
    waiting = [await batches.create("succeeded", status, url=OWN) for status in ("created", "queued", "processing")]
    empty = await batches.create(url=OWN)
    await batches.check()
    assert await batches.events() == [(empty, OWN)]
    for batch_id in waiting:
        await batches.end_jobs(batch_id)
    await batches.check()
    assert {batch_id for batch_id, _ in await batches.events()} == {empty, *waiting}


async def test_a_batch_is_checked_soon_after_a_job_ends(harness: Harness, batches: Batches) -> None:
    active, idle = await batches.create("processing"), await batches.create("queued", "queued")
    await harness.rows("UPDATE batches SET closed_at = now() - interval '1 d' RETURNING 1")
    await batches.check()
    assert timedelta(0) < await batches.next_check(active) <= store.SHORTEST_CHECK
    assert store.LONGEST_CHECK / 2 < await batches.next_check(idle) <= store.LONGEST_CHECK
    await batches.end_jobs(idle)
    assert await batches.next_check(idle) <= store.SHORTEST_CHECK


async def test_the_end_of_the_last_job_during_a_check_is_seen_soon(harness: Harness, batches: Batches) -> None:
    batch_id = await batches.create("queued", url=OWN)
    await harness.rows("UPDATE batches SET closed_at = now() - interval '1 d' RETURNING 1")
    now = 100.0
    finisher = BatchFinisher(harness.database, clock=lambda: now)
    async with harness.database.connection() as ending, ending.transaction():
        async with harness.database.connection() as checking, checking.transaction():
            await checking.execute("SELECT FROM batches FOR NO KEY UPDATE")  # as a check in progress
            await ending.execute("UPDATE jobs SET status = 'canceled', finished_at = now()")  # it leaves the batch out
        assert await finisher.run_once() == 1
        assert await batches.next_check(batch_id) > store.LONGEST_CHECK / 2, "the end is not visible yet"
        assert await finisher.run_once() == 0, "nor at the next tick, which follows at once"
    now += SECOND_LOOK_SECONDS
    assert await finisher.run_once() == 1
    assert await batches.events() == [(batch_id, OWN)]


async def test_a_second_look_that_fails_is_repeated_and_keeps_no_other_batch_from_its_end(
    harness: Harness, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = await batches.create("queued", url=OWN)
    await harness.rows("UPDATE batches SET closed_at = now() - interval '1 d' RETURNING 1")
    now = 100.0
    finisher = BatchFinisher(harness.database, clock=lambda: now)
    assert await finisher.run_once() == 1
    # As jobs that ended during the check, which the check did not see.
    await harness.rows("UPDATE jobs SET status = 'canceled', finished_at = now() RETURNING 1")
    await harness.rows("UPDATE batches SET next_check_at = now() + interval '5 min' RETURNING 1")
    ended = await batches.create("succeeded", url=OWN)

    async def fail(connection: AsyncConnection, **__: object) -> None:
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    now += SECOND_LOOK_SECONDS
    with monkeypatch.context() as failing:
        failing.setattr(store, "check_ended", fail)
        await finisher.run_once()
        assert await batches.events() == [(ended, OWN)]
    now += SECOND_LOOK_SECONDS
    assert await finisher.run_once() == 1
    assert set(await batches.events()) == {(ended, OWN), (late, OWN)}


async def test_a_job_is_not_added_after_the_batch_was_closed(
    harness: Harness, batches: Batches, own_database: str
) -> None:
    batch_id = await batches.create(closed=False, url=OWN)
    own: dict[str, Any] = {"batch_id": batch_id, "user_id": harness.user_id}
    scope, added = of_user(harness.user_id), new_id()
    async with impatient(own_database) as other:
        async with harness.database.connection(scope) as connection, connection.transaction():
            assert await insert(connection, harness.user_id, batch_id, added) is Insertion.INSERTED
            with pytest.raises(ResourceBusyError):  # it waits for the job
                async with other.connection(scope) as closing:
                    await store.close(closing, **own)
        async with other.connection(scope) as closing:
            await store.close(closing, **own)
    await batches.check()
    assert await batches.events() == [], "the job has not ended"
    async with harness.database.connection(scope) as connection:
        assert await insert(connection, harness.user_id, batch_id, new_id()) is Insertion.CLOSED
        assert await insert(connection, harness.user_id, batch_id, added) is Insertion.EXISTS


async def test_the_event_of_a_batch_is_listed_replayed_and_deleted_with_the_batch(
    harness: Harness, batches: Batches
) -> None:
    with receiving() as receiver:
        batch_id = await batches.create("succeeded", url=receiver.url)
        await batches.check()
        await deliver(harness)
        [delivery] = (await harness.webhooks.list_batch_deliveries(harness.user_id, batch_id)).data
        replayed = await harness.webhooks.replay(harness.user_id, delivery.delivery_id)
        assert (replayed.batch_id, replayed.job_id, replayed.event_id) == (batch_id, None, delivery.event_id)
        await deliver(harness, after=1)
        with pytest.raises(NotFoundError):
            await harness.webhooks.list_batch_deliveries(f"not {harness.user_id}", batch_id)
        with pytest.raises(NotFoundError):
            await harness.webhooks.replay(f"not {harness.user_id}", delivery.delivery_id)
    assert len({each.headers["webhook-id"] for each in receiver.received}) == 1 < len(receiver.received)
    async with harness.database.connection(of_user(harness.user_id)) as connection:
        assert await store.delete(connection, batch_id=batch_id, user_id=harness.user_id)
    assert await batches.events() == []


async def test_a_batch_with_a_pending_event_is_not_deleted_by_retention(harness: Harness, batches: Batches) -> None:
    batch_id = await batches.create(url=OWN)
    await batches.check()
    async with harness.database.connection() as connection:
        assert await store.delete_old(connection, age=timedelta(0), limit=9) == 0
        await connection.execute("UPDATE events SET status = 'delivered'")
        assert await store.delete_old(connection, age=timedelta(0), limit=9) == 1
    assert await harness.rows("SELECT FROM events WHERE batch_id = %s", batch_id) == []


async def test_an_event_of_a_newer_release_is_left_to_its_controllers(harness: Harness, batches: Batches) -> None:
    with receiving() as receiver:
        batch_id = await batches.create("succeeded", url=receiver.url)
        await batches.check()
        await harness.rows("UPDATE events SET type = 'batch.archived' WHERE batch_id = %s RETURNING 1", batch_id)
        await deliver(harness)
    assert receiver.received == []
    assert await harness.rows("SELECT attempts, status FROM events WHERE batch_id = %s", batch_id) == [
        {"attempts": 0, "status": "pending"}
    ]


async def test_a_batch_that_was_canceled_long_after_it_was_closed_is_checked_soon(
    harness: Harness, batches: Batches
) -> None:
    batch_id = await batches.create("queued")
    await harness.rows("UPDATE batches SET closed_at = now() - interval '1 d' RETURNING 1")
    async with harness.database.connection(of_user(harness.user_id)) as connection:
        assert await store.set_canceled(connection, batch_id=batch_id, user_id=harness.user_id)
    await batches.check()  # the end of its last job is not visible yet
    assert await batches.next_check(batch_id) <= store.SHORTEST_CHECK


async def test_a_batch_that_an_older_release_canceled_finishes_when_it_is_closed(
    harness: Harness, batches: Batches
) -> None:
    batch_id = await batches.create("canceled", closed=False, url=OWN)
    await harness.rows("UPDATE batches SET canceled_at = now() RETURNING 1")
    await batches.close(batch_id)
    await batches.check()
    assert await batches.events() == [(batch_id, OWN)]


async def test_a_job_that_another_request_inserts_at_the_same_time_exists(harness: Harness, batches: Batches) -> None:
    batch_id, job_id = await batches.create(closed=False), new_id()
    scope = of_user(harness.user_id)
    async with harness.database.connection(scope) as first, harness.database.connection(scope) as second:
        async with first.transaction():
            assert await insert(first, harness.user_id, batch_id, job_id) is Insertion.INSERTED
            waiting = asyncio.create_task(insert(second, harness.user_id, batch_id, job_id))
            await asyncio.sleep(0.2)
            assert not waiting.done(), "it waits for the first"
        assert await waiting is Insertion.EXISTS
