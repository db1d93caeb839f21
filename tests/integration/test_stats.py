"""The statistics that the controller counts in the database, and the metrics while it can't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from tests.integration.job_rows import put
from tests.support.scraped import Scrape, scraped

from pixelflow.adapters.postgres.database import EVERYONE, AsyncConnection, AsyncDatabase, Connection
from pixelflow.controlplane.controller.metrics import ControllerMetrics
from pixelflow.controlplane.jobs.reaper import LeaseReaper, ReapOutcome
from pixelflow.controlplane.stats import store
from pixelflow.controlplane.stats.collector import TOTALS_INTERVAL_SECONDS, StatsCollector
from pixelflow.errors import StoreUnavailableError


class Harness:
    """A stats collector, its metrics and a manual clock."""

    def __init__(self, database: AsyncDatabase, *, top_users: int = 2) -> None:
        self.now = 1000.0
        self.registry = CollectorRegistry()
        self.metrics = ControllerMetrics(self.registry)
        self.holder = uuid4()
        self.collector = StatsCollector(
            database, self.metrics.database, top_users=top_users, holder=self.holder, clock=lambda: self.now
        )

    async def collect(self) -> Scrape:
        """Run a tick and return the metrics."""
        assert await self.collector.run_once() == 0
        return scraped(self.registry)


@pytest.fixture
def harness(connection: Connection, async_database: AsyncDatabase) -> Harness:
    del connection  # empties the tables first
    return Harness(async_database)


def _bill(connection: Connection, user_id: str, pixels: int, *, age: timedelta = timedelta(0)) -> None:
    connection.execute(
        "INSERT INTO usage_logs VALUES (gen_random_uuid(), %s, %s, 0, 1, now() - %s)", (user_id, pixels, age)
    )


async def test_an_empty_database_has_zeros(harness: Harness) -> None:
    metrics = await harness.collect()
    statuses = ("created", "queued", "processing", "succeeded", "failed", "canceled")
    assert all(metrics.has("pixelflow_jobs", status=status) for status in statuses)
    assert metrics.by("status", "pixelflow_jobs") == {}
    for name in ("queue_oldest_seconds", "webhook_events_pending", "webhook_oldest_seconds", "usage_active_users"):
        assert metrics.has(f"pixelflow_{name}")
        assert metrics(f"pixelflow_{name}") == 0


async def test_jobs_are_counted_by_status(connection: Connection, harness: Harness) -> None:
    counts = {"created": 3, "queued": 2, "processing": 1, "succeeded": 4, "failed": 2, "canceled": 1}
    for status, count in counts.items():
        for _ in range(count):
            put(connection, status)
    assert (await harness.collect()).by("status", "pixelflow_jobs") == counts


async def test_the_oldest_job_is_the_one_that_has_been_due_for_longest(
    connection: Connection, harness: Harness
) -> None:
    put(connection, due_in=3600)
    assert (await harness.collect())("pixelflow_queue_oldest_seconds") == 0
    put(connection, due_in=-100)
    put(connection, due_in=-30)
    put(connection, "processing", due_in=-5000)
    assert 100 <= (await harness.collect())("pixelflow_queue_oldest_seconds") < 160


async def test_events_count_until_they_are_delivered_and_leased_ones_are_not_overdue(
    connection: Connection, harness: Harness
) -> None:
    for number, (status, due_in, held) in enumerate(
        [("pending", -40, False), ("pending", -900, True), ("pending", 600, False), ("delivered", -5000, False)]
    ):
        connection.execute(
            """
            INSERT INTO events (event_id, job_id, run, user_id, type, url, status, next_attempt_at, lease_until)
            VALUES (%s, %s, 1, 'user', 'job.failed', 'https://h/', %s, now() + make_interval(secs => %s),
                    CASE WHEN %s THEN now() + interval '1 min' END)
            """,
            (f"e{number}", put(connection, "failed"), status, due_in, held),
        )
    metrics = await harness.collect()
    assert metrics("pixelflow_webhook_events_pending") == 3
    assert 40 <= metrics("pixelflow_webhook_oldest_seconds") < 100


async def test_users_are_active_for_a_day_and_only_the_top_users_are_named(
    connection: Connection, harness: Harness
) -> None:
    for user in ("ann", "bob", "cid"):
        put(connection, "created", user_id=user)
        put(connection, "created", user_id=user)
    connection.execute("UPDATE jobs SET created_at = now() - interval '25 hours' WHERE user_id = 'cid'")
    for user, pixels in (("ann", 100), ("ann", 50), ("bob", 120), ("cid", 10)):
        _bill(connection, user, pixels)
    _bill(connection, "cid", 10_000, age=timedelta(hours=25))
    metrics = await harness.collect()
    assert metrics("pixelflow_usage_active_users") == 2
    assert metrics.by("user_id", "pixelflow_usage_top_pixels_processed") == {"ann": 150, "bob": 120}


async def test_no_user_is_named_if_the_setting_is_zero(connection: Connection, async_database: AsyncDatabase) -> None:
    _bill(connection, "ann", 100)
    metrics = await Harness(async_database, top_users=0).collect()
    assert metrics.by("user_id", "pixelflow_usage_top_pixels_processed") == {}


async def test_one_of_several_controllers_counts_and_exports(
    connection: Connection, harness: Harness, async_database: AsyncDatabase
) -> None:
    put(connection, "queued")
    put(connection, "succeeded")
    other = Harness(async_database)
    for _ in range(2):
        assert (await harness.collect()).by("status", "pixelflow_jobs") == {"queued": 1, "succeeded": 1}
        assert not (await other.collect()).has("pixelflow_jobs", status="queued")
    connection.execute("UPDATE controller_leases SET lease_until = now()")
    assert (await other.collect()).by("status", "pixelflow_jobs") == {"queued": 1, "succeeded": 1}
    metrics = await harness.collect()
    assert not metrics.has("pixelflow_jobs", status="queued")
    assert not metrics.has("pixelflow_jobs", status="succeeded")
    assert not metrics.has("pixelflow_usage_active_users")


async def test_one_of_many_controllers_that_start_at_once_counts(
    connection: Connection, async_database: AsyncDatabase
) -> None:
    del connection
    controllers = [Harness(async_database) for _ in range(4)]
    scrapes = await asyncio.gather(*(each.collect() for each in controllers))
    assert [scrape.has("pixelflow_queue_oldest_seconds") for scrape in scrapes].count(True) == 1


async def test_totals_are_counted_every_minute(connection: Connection, harness: Harness) -> None:
    await harness.collect()
    put(connection, "succeeded")
    put(connection, "queued")
    assert (await harness.collect()).by("status", "pixelflow_jobs") == {"queued": 1}
    harness.now += TOTALS_INTERVAL_SECONDS
    assert (await harness.collect()).by("status", "pixelflow_jobs") == {"queued": 1, "succeeded": 1}


@pytest.fixture
async def locked_usage(database_url: str) -> AsyncIterator[None]:
    """A table that can't be read while the fixture lasts."""
    async with await psycopg.AsyncConnection.connect(database_url) as holder:
        await holder.execute("LOCK usage_logs IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_statement_that_takes_too_long_is_canceled(
    async_connection: AsyncConnection, locked_usage: None, async_database: AsyncDatabase
) -> None:
    del async_connection, locked_usage
    with pytest.raises(StoreUnavailableError):
        async with async_database.connection() as connection, store.with_statement_timeout(connection, seconds=0.2):
            await store.top_users(connection, limit=1)
    async with async_database.connection() as connection:
        row = await (await connection.execute("SHOW statement_timeout")).fetchone()
    assert row == {"statement_timeout": "1min"}, "the timeout ends with the block, and the default applies again"


async def test_a_timeout_of_the_totals_does_not_affect_the_backlog(
    connection: Connection, locked_usage: None, async_database: AsyncDatabase
) -> None:
    del locked_usage
    put(connection, "queued")
    harness = Harness(async_database)
    harness.collector = StatsCollector(
        async_database,
        harness.metrics.database,
        top_users=1,
        holder=harness.holder,
        totals_timeout=0.2,
        clock=lambda: harness.now,
    )
    metrics = await harness.collect()
    assert metrics.by("status", "pixelflow_jobs") == {"queued": 1}
    assert not metrics.has("pixelflow_usage_active_users")


async def test_counts_are_omitted_while_the_database_is_down() -> None:
    async with AsyncDatabase(
        "postgresql://nobody@127.0.0.1:9/nothing", max_connections=1, application="test", scope=EVERYONE
    ) as nowhere:
        harness = Harness(nowhere)
        with pytest.raises(StoreUnavailableError):
            await harness.collector.run_once()
        metrics = scraped(harness.registry)
    assert not metrics.has("pixelflow_queue_oldest_seconds")
    assert not metrics.has("pixelflow_jobs", status="queued")


async def test_the_lease_reaper_reports_what_happened_to_each_job(
    connection: Connection, async_database: AsyncDatabase
) -> None:
    put(connection, "processing", attempts=1)
    put(connection, "processing", attempts=5, max_attempts=5)
    connection.execute("UPDATE job_queue SET lease_until = now() - interval '1 s'")
    outcomes: list[ReapOutcome] = []
    assert await LeaseReaper(async_database, lease=timedelta(0), on_reaped=outcomes.append).run_once() == 2
    assert sorted(outcomes) == ["exhausted", "requeued"]
