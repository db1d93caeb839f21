"""What the controller counts in the database, on real rows, and what it tells when it can't."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from tests.integration.job_rows import put
from tests.support.scraped import Scrape, scraped

from pixelflow.adapters.postgres.database import EVERYONE, AsyncConnection, AsyncDatabase, Connection
from pixelflow.contracts.errors import StoreUnavailableError
from pixelflow.controlplane.controller.metrics import ControllerMetrics, Expiry
from pixelflow.controlplane.jobs.reaper import LeaseReaper
from pixelflow.controlplane.stats import store
from pixelflow.controlplane.stats.collector import TOTALS_SECONDS, StatsCollector


class Office:
    """A census, its metrics, and the time."""

    def __init__(self, database: AsyncDatabase, *, top_users: int = 2) -> None:
        self.now = 1000.0
        self.registry = CollectorRegistry()
        self.metrics = ControllerMetrics(self.registry)
        self.census = StatsCollector(database, self.metrics.counted, top_users=top_users, clock=lambda: self.now)

    async def told(self) -> Scrape:
        """What the metrics tell after another round."""
        assert await self.census.run_once() == 0
        return scraped(self.registry)


@pytest.fixture
def office(connection: Connection, async_database: AsyncDatabase) -> Office:
    del connection  # empties the tables first
    return Office(async_database)


def _bill(connection: Connection, user_id: str, pixels: int, *, age: timedelta = timedelta(0)) -> None:
    connection.execute(
        "INSERT INTO usage_logs VALUES (gen_random_uuid(), %s, %s, 0, 1, now() - %s)", (user_id, pixels, age)
    )


async def test_an_empty_database_is_told_as_such(office: Office) -> None:
    told = await office.told()
    statuses = ("created", "queued", "processing", "succeeded", "failed", "canceled")
    assert all(told.has("pixelflow_jobs", status=status) for status in statuses)
    assert told.by("status", "pixelflow_jobs") == {}
    for name in ("queue_oldest_seconds", "webhook_events_pending", "webhook_oldest_seconds", "usage_active_users"):
        assert told.has(f"pixelflow_{name}")
        assert told(f"pixelflow_{name}") == 0


async def test_jobs_are_counted_by_status(connection: Connection, office: Office) -> None:
    counts = {"created": 3, "queued": 2, "processing": 1, "succeeded": 4, "failed": 2, "canceled": 1}
    for status, count in counts.items():
        for _ in range(count):
            put(connection, status)
    assert (await office.told()).by("status", "pixelflow_jobs") == counts


async def test_the_oldest_is_the_longest_due_one_not_the_one_that_waits_for_its_time(
    connection: Connection, office: Office
) -> None:
    put(connection, due_in=3600)
    assert (await office.told())("pixelflow_queue_oldest_seconds") == 0
    put(connection, due_in=-100)
    put(connection, due_in=-30)
    put(connection, "processing", due_in=-5000)
    assert 100 <= (await office.told())("pixelflow_queue_oldest_seconds") < 160


async def test_events_count_until_they_are_delivered_and_are_overdue_unless_in_hand(
    connection: Connection, office: Office
) -> None:
    for number, (status, due_in, held) in enumerate(
        [("pending", -40, False), ("pending", -900, True), ("pending", 600, False), ("delivered", -5000, False)]
    ):
        connection.execute(
            """
            INSERT INTO events (event_id, job_id, run, user_id, type, url, status, next_try_at, lease_until)
            VALUES (%s, %s, 1, 'user', 'job.failed', 'https://h/', %s, now() + make_interval(secs => %s),
                    CASE WHEN %s THEN now() + interval '1 min' END)
            """,
            (f"e{number}", put(connection, "failed"), status, due_in, held),
        )
    told = await office.told()
    assert told("pixelflow_webhook_events_pending") == 3
    assert 40 <= told("pixelflow_webhook_oldest_seconds") < 100


async def test_users_are_active_for_a_day_and_only_those_with_most_are_named(
    connection: Connection, office: Office
) -> None:
    for user in ("ann", "bob", "cid"):
        put(connection, "created", user_id=user)
        put(connection, "created", user_id=user)
    connection.execute("UPDATE jobs SET created_at = now() - interval '25 hours' WHERE user_id = 'cid'")
    for user, pixels in (("ann", 100), ("ann", 50), ("bob", 120), ("cid", 10)):
        _bill(connection, user, pixels)
    _bill(connection, "cid", 10_000, age=timedelta(hours=25))
    told = await office.told()
    assert told("pixelflow_usage_active_users") == 2
    assert told.by("user_id", "pixelflow_usage_top_pixels_processed") == {"ann": 150, "bob": 120}


async def test_no_user_is_named_where_the_operator_wants_none(
    connection: Connection, async_database: AsyncDatabase
) -> None:
    _bill(connection, "ann", 100)
    told = await Office(async_database, top_users=0).told()
    assert told.by("user_id", "pixelflow_usage_top_pixels_processed") == {}


async def test_what_takes_longer_is_counted_by_the_minute(connection: Connection, office: Office) -> None:
    await office.told()
    put(connection, "succeeded")
    put(connection, "queued")
    assert (await office.told()).by("status", "pixelflow_jobs") == {"queued": 1}
    office.now += TOTALS_SECONDS
    assert (await office.told()).by("status", "pixelflow_jobs") == {"queued": 1, "succeeded": 1}


@pytest.fixture
async def locked_usage(database_url: str) -> AsyncIterator[None]:
    """A table that can't be read for now."""
    async with await psycopg.AsyncConnection.connect(database_url) as holder:
        await holder.execute("LOCK usage_logs IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_question_that_takes_too_long_is_given_up(
    async_connection: AsyncConnection, locked_usage: None, async_database: AsyncDatabase
) -> None:
    del async_connection, locked_usage
    with pytest.raises(StoreUnavailableError):
        async with async_database.connection() as connection, store.with_statement_timeout(connection, seconds=0.2):
            await store.top_users(connection, limit=1)
    async with async_database.connection() as connection:
        row = await (await connection.execute("SHOW statement_timeout")).fetchone()
    assert row == {"statement_timeout": "0"}, "others are as patient as before"


async def test_totals_that_can_t_be_counted_keep_nothing_else_from_being_told(
    connection: Connection, locked_usage: None, async_database: AsyncDatabase
) -> None:
    del locked_usage
    put(connection, "queued")
    office = Office(async_database)
    office.census = StatsCollector(
        async_database, office.metrics.counted, top_users=1, totals_patience=0.2, clock=lambda: office.now
    )
    told = await office.told()
    assert told.by("status", "pixelflow_jobs") == {"queued": 1}
    assert not told.has("pixelflow_usage_active_users")


async def test_a_database_that_is_away_is_no_database_without_jobs() -> None:
    async with AsyncDatabase(
        "postgresql://nobody@127.0.0.1:9/nothing", max_connections=1, application="test", scope=EVERYONE
    ) as nowhere:
        office = Office(nowhere)
        with pytest.raises(StoreUnavailableError):
            await office.census.run_once()
        told = scraped(office.registry)
    assert not told.has("pixelflow_queue_oldest_seconds")
    assert not told.has("pixelflow_jobs", status="queued")


async def test_leases_that_ran_out_are_told_by_what_became_of_the_job(
    connection: Connection, async_database: AsyncDatabase
) -> None:
    put(connection, "processing", attempts=1)
    put(connection, "processing", attempts=5, max_attempts=5)
    connection.execute("UPDATE jobs SET lease_until = now() - interval '1 s'")
    told: list[Expiry] = []
    assert await LeaseReaper(async_database, expired=told.append).run_once() == 2
    assert sorted(told) == ["exhausted", "requeued"]
