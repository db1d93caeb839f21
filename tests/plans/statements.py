"""The statements whose cost must not depend on the number of jobs, each called as the service calls it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import DictRow
from tests.plans.explain import Explaining, ExplainingAsync, Plan
from tests.plans.fill import HEAVY, STEADY

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.connection import TenantScope
from pixelflow.adapters.postgres.database import EVERYONE, NOBODY, of_user
from pixelflow.contracts.capabilities import worker_capabilities
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.batches import store as batches_store
from pixelflow.controlplane.batches.finisher import LIMIT
from pixelflow.controlplane.idempotency import store as idempotency_store
from pixelflow.controlplane.jobs import awaited, transitions
from pixelflow.controlplane.jobs import lists as job_lists
from pixelflow.controlplane.jobs import store as jobs_store
from pixelflow.controlplane.jobs.auto_start import BATCH
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.store import SourcePlace, UploadLimits
from pixelflow.controlplane.keys import store as keys_store
from pixelflow.controlplane.live import store as live_store
from pixelflow.controlplane.live.store import Reading, ReadPosition
from pixelflow.controlplane.retention import store as retention_store
from pixelflow.controlplane.usage import store as usage_store
from pixelflow.controlplane.webhooks import due_events
from pixelflow.controlplane.webhooks import store as webhooks_store
from pixelflow.controlplane.webhooks.dispatcher import LIMITS, MAX_CONCURRENT
from pixelflow.controlplane.webhooks.due_events import Lane, Rotation
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.dataplane.worker.store import Lease, OutputRow, Renewal, SourceFacts, UsageRow

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Database = psycopg.Connection[DictRow]

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_REQUEST = CreateJobRequest.model_validate({"pipeline": [{"id": "small", "action": "resize", "width": 640}]})
_ALL = JobFilters()
_SOURCE = SourceFacts(bytes=1000, sha256="s", format="jpeg", width=120, height=80)
_USAGE = UsageRow(pixels_processed=2400, bytes_saved=600, compute_time_ms=7)


@dataclass(frozen=True)
class Hot:
    """A function of a store, and the bounds of its statements."""

    name: str
    function: Callable[..., Any]
    scope: TenantScope
    arguments: Callable[[Database], Arguments]
    """For a filled database."""
    indexes: list[str]
    """Indexes that must be used; others may be, too."""
    buffers: int
    """Maximum number of pages."""
    growth: float = 2.0
    """The factor by which buffers may grow with a hundred times as many jobs: an index gets a level or two deeper."""


def _named(**named: Any) -> Callable[[Database], Arguments]:  # noqa: ANN401 - of any function
    return lambda _: ((), named)


def _in_a_batch(job: dict[str, Any]) -> Callable[[Database], Arguments]:
    def arguments(database: Database) -> Arguments:
        row = _one(database, "SELECT batch_id FROM batches WHERE closed_at IS NULL")
        return (), job | {"job_id": new_id(), "batch_id": row["batch_id"]}

    return arguments


def _one(database: Database, query: str, **values: object) -> DictRow:
    row = database.execute(query, values).fetchone()
    assert row, query
    return row


def _job(database: Database, status: str, user_id: str = "") -> DictRow:
    """A job in that status from the middle of the history; of that user, or of any."""
    return _one(
        database,
        """
        WITH found AS (
            SELECT job_id, lease_token, created_at, percent_rank() OVER (ORDER BY created_at) AS rank FROM jobs
            WHERE status = %(status)s AND erased_at IS NULL AND %(user_id)s IN (user_id, '')
        )
        SELECT * FROM found ORDER BY abs(rank - 0.5) LIMIT 1
        """,
        status=status,
        user_id=user_id,
    )


def _lease(database: Database) -> Lease:
    row = _job(database, "processing")
    return Lease(row["job_id"], row["lease_token"])


def _succeed(database: Database) -> Arguments:
    outputs = [OutputRow("small", 0, "resize", "webp", "outputs/x", 400, 60, 40, "o")]
    return (_lease(database),), {"source": _SOURCE, "outputs": outputs, "usage": _USAGE, "stages": {"fetch": 1}}


def _renew(database: Database) -> Arguments:
    rows = database.execute("SELECT job_id, lease_token FROM jobs WHERE status = 'processing' LIMIT 8").fetchall()
    return ([Renewal(Lease(row["job_id"], row["lease_token"])) for row in rows],), {"lease": _MINUTE}


def _watchers(database: Database) -> Arguments:
    """Four hundred who wait: for all jobs of a user, and for one job."""
    snapshot = _one(database, "SELECT pg_current_snapshot()::text AS snapshot")["snapshot"]
    job_id = _job(database, "processing", HEAVY)["job_id"]
    one_each = [Reading(HEAVY, None, ReadPosition(snapshot)), Reading(HEAVY, job_id, ReadPosition(snapshot))]
    return (200 * one_each,), {}


def _queue(database: Database) -> Arguments:
    row = _job(database, "created", HEAVY)
    source = {"source_key": f"uploads/{row['job_id']}/source", "source_bytes": 1, "source_version": "v"}
    values = {"max_active": None, "traceparent": None, "new_run": False, **source}
    return (), {"job_id": row["job_id"], "user_id": HEAVY, "moved_from": [JobStatus.CREATED], **values}


def _page(filters: JobFilters = _ALL, *, deep: bool, limit: int = 21) -> Callable[[Database], Arguments]:
    def arguments(database: Database) -> Arguments:
        row = _job(database, filters.status or "succeeded", HEAVY)
        before = (row["created_at"], row["job_id"]) if deep else None
        return (), {"user_id": HEAVY, "filters": filters, "limit": limit, "before": before}

    return arguments


def _of_job(status: str, **named: Any) -> Callable[[Database], Arguments]:  # noqa: ANN401 - of any function
    return lambda database: ((), {"job_id": _job(database, status, HEAVY)["job_id"], "user_id": HEAVY, **named})


def _of_batch(database: Database) -> Arguments:
    """A batch with an event that was delivered."""
    row = _one(database, "SELECT batch_id, user_id FROM events WHERE batch_id IS NOT NULL LIMIT 1")
    return (), {"batch_id": row["batch_id"], "user_id": row["user_id"]}


def _of_checked_batches(database: Database) -> Arguments:
    rows = database.execute(
        "SELECT batch_id FROM batches WHERE closed_at IS NOT NULL AND finished_at IS NULL LIMIT %s", (LIMIT,)
    ).fetchall()
    return (), {"batch_ids": [row["batch_id"] for row in rows]}


def _delete_events_of_batch(connection: Database, *, batch_id: UUID, user_id: str) -> None:
    """As the foreign keys with `ON DELETE CASCADE` do for each batch, and for each of its events."""
    del user_id
    event = _one(connection, "SELECT event_id FROM events WHERE batch_id = %(batch_id)s", batch_id=batch_id)
    connection.execute("DELETE FROM deliveries WHERE event_id = %s", (event["event_id"],))
    connection.execute("DELETE FROM events WHERE batch_id = %s", (batch_id,))


def _deliveries_of_batch(database: Database) -> Arguments:
    return (), _of_batch(database)[1] | {"limit": 100}


def _delivery(database: Database) -> Arguments:
    row = _one(database, "SELECT delivery_id, user_id FROM deliveries LIMIT 1")
    return (), dict(row)


def _days(count: int) -> dict[str, date]:
    end = datetime.now(UTC).date() + _DAY
    return {"first": end - count * _DAY, "end": end}


def _claim(places: int) -> Callable[[Database], Arguments]:
    return _named(places=places, capabilities=worker_capabilities(), worker_id="worker", lease=_MINUTE)


def _visit(_: Database) -> Arguments:
    return (Rotation(),), {}


def _lease_due(database: Database) -> Arguments:
    due = "SELECT user_id, host FROM events WHERE status = 'pending' AND next_attempt_at <= now() GROUP BY 1, 2"
    lanes = [Lane(**row) for row in database.execute(due + " LIMIT 640").fetchall()]
    named = {"lease": _MINUTE, "limits": LIMITS, "limit": MAX_CONCURRENT}
    return (lanes,), {"now": datetime.now(UTC), **named}


def _lease_backlog(database: Database) -> Arguments:
    """All pending events are due."""
    database.execute("UPDATE events SET next_attempt_at = now() - interval '1 s' WHERE status = 'pending'")
    return _lease_due(database)


def _lease_checks(database: Database) -> Arguments:
    users = database.execute("SELECT DISTINCT user_id FROM awaited_sources").fetchall()
    return ([row["user_id"] for row in users][:320],), {"seconds": _MINUTE, "limit": BATCH}


def hot_statements() -> list[Hot]:
    """Return all of them."""
    return [*_of_requests(), *_of_workers(), *_of_lists(), *_of_loops()]


def _of_requests() -> list[Hot]:
    mine = of_user(HEAVY)
    job = {"user_id": HEAVY, "request": _REQUEST, "place": SourcePlace("k"), "max_attempts": 5, "job_id": new_id()}
    job["limits"] = UploadLimits(100, 10**12, undeclared_bytes=1)
    claim: dict[str, Any] = {"user_id": HEAVY, "key": "new", "fingerprint": b"f", "job_id": None}
    claim |= {"resource_id": uuid4(), "holder": uuid4(), "lease": _MINUTE, "keep": _DAY}
    show = ["jobs_pkey", "outputs_pkey", "usage_logs_pkey"]
    return [
        Hot(
            "find an API key",
            keys_store.find_valid,
            NOBODY,
            lambda _: (("k7",), {"stale": _MINUTE}),
            [],  # a plan does not show what a function does, but counts its pages
            10,
        ),
        Hot("claim an idempotency key", idempotency_store.claim, mine, _named(**claim), ["idempotency_keys_pkey"], 40),
        Hot("create", jobs_store.insert, mine, _named(**job), ["jobs_pending_uploads"], 400, growth=10),
        Hot("create, in a batch", jobs_store.insert, mine, _in_a_batch(job), ["batches_pkey"], 400, growth=10),
        Hot("find, to start", transitions.find, mine, _of_job("created"), ["jobs_pkey"], 10),
        Hot("start", transitions.queue, mine, _queue, ["jobs_pkey"], 150),
        Hot("show", jobs_store.find, mine, _of_job("succeeded", with_history=True), ["attempts_pkey", *show], 40),
        Hot("cancel", transitions.cancel, mine, _of_job("created"), ["jobs_pkey"], 80),
        Hot(
            "replay a delivery",
            webhooks_store.replay_event,
            EVERYONE,
            _delivery,
            ["deliveries_pkey", "events_pkey"],
            60,
        ),
        Hot(
            "list deliveries of a batch",
            webhooks_store.list_batch_deliveries,
            EVERYONE,
            _deliveries_of_batch,
            ["batches_pkey", "events_by_batch", "deliveries_by_event"],
            30,
        ),
        Hot("delete a batch", batches_store.delete, EVERYONE, _of_batch, ["batches_pkey"], 60),
        # The plan of the statement above does not show what its triggers do.
        Hot(
            "delete a batch, its cascade",
            _delete_events_of_batch,
            EVERYONE,
            _of_batch,
            ["events_by_batch", "deliveries_by_event"],
            60,
        ),
    ]


def _of_workers() -> list[Hot]:
    return [
        Hot("read changes", live_store.read_changes, EVERYONE, _watchers, ["jobs_by_change", "jobs_pkey"], 4000),
        Hot("claim one", worker_store.claim, EVERYONE, _claim(1), [], 150),  # as for the key above
        Hot("claim four", worker_store.claim, EVERYONE, _claim(4), [], 400),
        Hot("renew 8 leases", worker_store.renew, EVERYONE, _renew, ["job_queue_pkey"], 150),
        Hot("succeed", worker_store.succeed, EVERYONE, _succeed, ["jobs_pkey", "attempts_pkey"], 150),
    ]


def _of_lists() -> list[Hot]:
    mine, all_, by_status = of_user(HEAVY), ["jobs_by_user"], ["jobs_by_user_and_status"]
    sku, by_filter = {"sku": "A-17"}, ["job_filters_pkey"]
    week, page = _named(**_days(7)), _named(**_days(7), after="", limit=1001)
    of_steady = _named(user_id=STEADY, **_days(366))
    return [
        Hot("list, first page", job_lists.list_newest, mine, _page(deep=False), all_, 400),
        Hot("list, deep page", job_lists.list_newest, mine, _page(deep=True), all_, 400),
        Hot(
            "list failed, first page",
            job_lists.list_newest,
            mine,
            _page(JobFilters(JobStatus.FAILED), deep=False, limit=5),
            by_status,
            400,
        ),
        Hot(
            "list failed, deep page",
            job_lists.list_newest,
            mine,
            _page(JobFilters(JobStatus.FAILED), deep=True, limit=5),
            by_status,
            400,
            growth=5,  # a user with few jobs has fewer failed ones than a page
        ),
        # Every job of the fill has this metadata.
        Hot(
            "list by metadata, first page",
            job_lists.list_newest,
            mine,
            _page(JobFilters(metadata=sku), deep=False),
            by_filter,
            400,
        ),
        Hot(
            "list by metadata, deep page",
            job_lists.list_newest,
            mine,
            _page(JobFilters(metadata=sku), deep=True),
            by_filter,
            600,
        ),
        Hot(
            "list by metadata, a later day",
            job_lists.list_newest,
            mine,
            _page(JobFilters(created_after=datetime.now(UTC) - 80 * _DAY, metadata=sku), deep=True),
            by_filter,
            600,
        ),
        # Reads 1000 jobs, if the user has so many, and finds none of them.
        Hot(
            "list by two values, deep page",
            job_lists.list_newest,
            mine,
            _page(JobFilters(metadata=sku | {"color": "red"}), deep=True),
            by_filter,
            6000,
            growth=15,
        ),
        Hot(
            "list by metadata and status, deep page",
            job_lists.list_newest,
            mine,
            _page(JobFilters(JobStatus.FAILED, metadata=sku), deep=True, limit=5),
            by_filter,
            6000,
            growth=15,  # the same: it reads on until it has found five
        ),
        # A row per day with jobs, each on a page of its own among the rows of others.
        Hot("usage of a year", usage_store.by_day, of_user(STEADY), of_steady, ["usage_days_pkey"], 600, growth=10),
        Hot("usage of all, by day", usage_store.of_everyone_by_day, EVERYONE, week, [], 10_000, growth=20),
        Hot("usage of all, by user", usage_store.of_everyone_by_user, EVERYONE, page, [], 10_000, growth=20),
    ]


def _of_loops() -> list[Hot]:
    lost = _named(limit=100, exhausted="x")
    # A thousand rows, or those that there are.
    old_rows = _named(age=80 * _DAY, limit=1000)
    erased, old = _named(kind="job", lease=_MINUTE, limit=20), _named(keep=_DAY, limit=100)
    return [
        Hot("promote delayed jobs", worker_store.promote_due, EVERYONE, _named(limit=100), [], 100),
        Hot("reap expired leases", transitions.reap_expired, EVERYONE, lost, ["job_queue_active"], 600),
        Hot("find due events", due_events.longest_due, EVERYONE, _named(now=datetime.now(UTC)), ["events_due"], 300),
        Hot("visit users and hosts", due_events.visit, EVERYONE, _visit, ["events_by_user"], 6000),
        Hot("lease due events", due_events.lease_due, EVERYONE, _lease_due, ["events_by_user"], 2000),
        Hot("lease due events, backlog", due_events.lease_due, EVERYONE, _lease_backlog, ["events_by_user"], 10_000),
        Hot("finish batches", batches_store.finish_due, EVERYONE, _named(limit=LIMIT), ["jobs_by_batch"], 8000),
        Hot(
            "check ended batches",
            batches_store.check_ended,
            EVERYONE,
            _of_checked_batches,
            ["batches_pkey"],
            1000,
            growth=40,  # three pages for each of 200 batches; those of the small database are on 17 pages in all
        ),
        Hot("find due checks of uploads", awaited.longest_due, EVERYONE, _named(), ["awaited_sources_due"], 300),
        Hot(
            "visit users of uploads", awaited.visit, EVERYONE, _named(after="user-1"), ["awaited_sources_by_user"], 600
        ),
        Hot("lease checks of uploads", awaited.lease, EVERYONE, _lease_checks, ["awaited_sources_by_user"], 3000),
        Hot(
            "lease deletions",
            retention_store.lease_deletions,
            EVERYONE,
            erased,
            ["pending_deletions_due"],
            400,
        ),
        Hot(
            "delete old batches",
            batches_store.delete_old,
            EVERYONE,
            old_rows,
            ["batches_by_age", "batches_pkey"],
            15_000,
            growth=20,
        ),
        Hot(
            "delete old events",
            retention_store.delete_events,
            EVERYONE,
            old_rows,
            ["events_finished", "events_pkey", "deliveries_by_event"],
            15_000,
            growth=20,
        ),
        Hot(
            "delete old attempts",
            retention_store.delete_attempts,
            EVERYONE,
            old_rows,
            ["attempts_by_age"],
            15_000,
            growth=20,
        ),
        Hot("delete old keys", idempotency_store.delete_expired, EVERYONE, old, ["idempotency_keys_by_age"], 40),
    ]


async def explained(database: Database, hot: Hot) -> Plan:
    """Return how the database executes it; all changes are rolled back."""
    with database.transaction(force_rollback=True):
        database.execute("SELECT set_config('pixelflow.tenant_scope', 'everyone', true)")
        arguments, named = hot.arguments(database)
        database.execute("SELECT set_config('pixelflow.tenant_scope', %s, true)", (hot.scope,))
        explaining = Explaining(database)
        if inspect.iscoroutinefunction(hot.function):
            await hot.function(ExplainingAsync(explaining), *arguments, **named)
        else:
            hot.function(explaining, *arguments, **named)
        return explaining.plan
