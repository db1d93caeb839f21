"""The queue on a real Postgres: fair shares, priorities, limits, requirements, and a cost that no backlog changes."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.integration.conftest import FOR_ALL_USERS
from tests.integration.job_rows import CAPABILITIES, LEASE, assert_lanes_match, claimed, put, queue_row, row_of
from tests.support.waiting import assert_within

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, Connection, Database
from pixelflow.controlplane.jobs import store as jobs_store
from pixelflow.controlplane.jobs import transitions
from pixelflow.controlplane.jobs.reaper import LeaseReaper
from pixelflow.controlplane.queue import store as queue_store
from pixelflow.controlplane.stats import store as stats_store
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.errors import StoreUnavailableError

ERROR = {"code": "undecodable", "message": "damaged", "step_id": None}


def put_many(connection: Connection, user_id: str, jobs: int) -> None:
    """Queue that many jobs of the user."""
    connection.execute(
        """
        WITH made AS (
            INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, max_attempts)
            SELECT gen_random_uuid(), %s, 'queued', 's3_presigned', 'x', '[]', 5 FROM generate_series(1, %s)
            RETURNING job_id
        )
        SELECT count(enqueue_job(job_id, NULL)::text) FROM made
        """,
        (user_id, jobs),
    )


def take(connection: Connection, places: int = 1, capabilities: Sequence[str] = CAPABILITIES) -> list[ClaimedJob]:
    return store.claim(connection, places=places, capabilities=capabilities, worker_id="worker", lease=LEASE)


def end(connection: Connection, job: ClaimedJob, compute_time_ms: int) -> None:
    assert store.fail(connection, job.lease, error=ERROR, stages={}, compute_time_ms=compute_time_ms)


def serve(connection: Connection, costs: dict[str, int], *, places: int, total_ms: int) -> Counter[str]:
    """Process jobs of these costs by user until so much time was used; returns the time by user."""
    used: Counter[str] = Counter()
    active: list[ClaimedJob] = []
    while used.total() < total_ms:
        active += take(connection, places - len(active))
        job = active.pop(0)
        end(connection, job, costs[job.user_id])
        used[job.user_id] += costs[job.user_id]
    return used


# ── Fair shares ──────────────────────────────────────────────────────────────────────────────────


def test_ten_backlogged_users_get_equal_processor_time_whatever_their_jobs_cost(connection: Connection) -> None:
    costs = {f"user-{number}": 20 * (1 + number) for number in range(10)}
    for user_id, cost in costs.items():
        put_many(connection, user_id, 5000 // cost)
    used = serve(connection, costs, places=4, total_ms=36_000)
    mean = used.total() / len(costs)
    assert {
        user_id: round(time_ms / mean, 2) for user_id, time_ms in used.items() if abs(time_ms / mean - 1) > 0.1
    } == {}
    assert len(used) == len(costs)
    assert_lanes_match(connection)


def test_a_lone_job_gets_the_next_place_while_another_user_has_2000_waiting(connection: Connection) -> None:
    put_many(connection, "many", 2000)
    for _ in range(20):
        for job in take(connection, 4):
            end(connection, job, 30)
    lone = put(connection, user_id="one")
    (job,) = take(connection)
    assert job.job_id == lone


async def test_time_is_shared_by_weight(connection: Connection, async_connection: AsyncConnection) -> None:
    await queue_store.set_share(async_connection, user_id="heavy", weight=3, max_active=None)
    costs = {"heavy": 50, "light": 50}
    for user_id in costs:
        put_many(connection, user_id, 300)
    used = serve(connection, costs, places=2, total_ms=12_000)
    assert used["heavy"] / used["light"] == pytest.approx(3, rel=0.1)


async def test_a_changed_share_applies_to_the_waiting_jobs(
    connection: Connection, async_connection: AsyncConnection
) -> None:
    put_many(connection, "user", 5)
    await queue_store.set_share(async_connection, user_id="user", weight=1, max_active=2)
    assert len(take(connection, 5)) == 2
    await queue_store.set_share(async_connection, user_id="user", weight=1, max_active=None)
    assert len(take(connection, 5)) == 3
    (share,) = await queue_store.list_shares(async_connection)
    assert (share.user_id, share.weight, share.max_active, share.waiting, share.active) == ("user", 1, None, 0, 5)


def test_time_that_was_not_used_is_not_hoarded_and_nobody_is_starved_for_time_used_alone(
    connection: Connection,
) -> None:
    costs = {"early": 100, "late": 100}
    put_many(connection, "early", 200)
    serve(connection, costs, places=1, total_ms=10_000)
    put_many(connection, "late", 100)
    used = serve(connection, costs, places=1, total_ms=10_000)
    assert used["early"] == pytest.approx(used["late"], rel=0.1)


def test_a_user_who_returns_when_nobody_is_busy_is_not_behind_a_new_one(connection: Connection) -> None:
    put(connection, user_id="old")
    (job,) = take(connection)
    end(connection, job, 1_000_000)
    costs = {"new": 100, "old": 100}
    for user_id in costs:
        put_many(connection, user_id, 30)
    used = serve(connection, costs, places=1, total_ms=4000)
    assert used["old"] == used["new"]


def test_the_time_of_a_failed_attempt_counts(connection: Connection) -> None:
    costs = {"bomb": 1000, "photo": 50}
    put_many(connection, "bomb", 30)
    put_many(connection, "photo", 300)
    used = serve(connection, costs, places=1, total_ms=20_000)
    assert used["bomb"] == pytest.approx(used["photo"], rel=0.15)
    rows = connection.execute("SELECT user_id, compute_time_ms FROM failed_usage ORDER BY user_id").fetchall()
    assert [(row["user_id"], row["compute_time_ms"]) for row in rows] == sorted(used.items())


def test_an_attempt_that_the_job_is_not_to_blame_for_is_free(connection: Connection) -> None:
    job = claimed(connection)
    assert store.release(
        connection, job.lease, delay=timedelta(0), counted=False, error=None, stages={}, compute_time_ms=0
    )
    lane = connection.execute("SELECT virtual_ms, job_ms FROM queue_lanes").fetchone()
    assert lane == {"virtual_ms": 0, "job_ms": 100}


@pytest.mark.parametrize("limit", [1, 3])
def test_concurrent_claims_never_exceed_a_users_limit(connection: Connection, database_url: str, limit: int) -> None:
    connection.execute("INSERT INTO queue_shares (user_id, max_active) VALUES ('user', %s)", (limit,))
    put_many(connection, "user", 100)
    claims: list[int] = []

    def claim() -> None:
        with psycopg.connect(database_url, autocommit=True, row_factory=dict_row, options=FOR_ALL_USERS) as own:
            claims.append(len(take(own, 2)))

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claims) == limit


# ── Within a user ────────────────────────────────────────────────────────────────────────────────


def test_the_jobs_of_a_user_go_by_priority_and_then_by_age(connection: Connection) -> None:
    low, old, new, high = (
        put(connection, priority=2, due_in=-90),
        put(connection, due_in=-60),
        put(connection, due_in=-30),
        put(connection, priority=0),
    )
    assert [take(connection)[0].job_id for _ in range(4)] == [high, old, new, low]


def test_the_priority_of_a_user_does_not_matter_beside_other_users(connection: Connection) -> None:
    for _ in range(6):
        put(connection, user_id="loud", priority=0)
        put(connection, user_id="quiet", priority=2)
    assert Counter(job.user_id for job in take(connection, 6)) == {"loud": 3, "quiet": 3}


# ── Versions ─────────────────────────────────────────────────────────────────────────────────────

NEW = (*CAPABILITIES, "contract/2", "heic")


async def test_a_worker_claims_only_what_it_is_capable_of(
    connection: Connection, async_connection: AsyncConnection
) -> None:
    old_job = put(connection, requires=["contract/1"])
    new_job = put(connection, requires=["contract/2", "heic"], due_in=-60)
    assert [job.job_id for job in take(connection, 4)] == [old_job]
    assert take(connection, 4) == []
    row = await jobs_store.find(async_connection, job_id=new_job, user_id="user", with_history=False)
    assert row
    assert row.attempts == 0
    (job,) = take(connection, 4, NEW)
    assert job.job_id == new_job
    assert_lanes_match(connection)


async def test_a_job_shows_what_no_live_worker_is_capable_of(
    connection: Connection, async_connection: AsyncConnection
) -> None:
    job_id = put(connection, requires=["contract/2", "heic"])

    async def waiting_for() -> list[str] | None:
        row = await jobs_store.find(async_connection, job_id=job_id, user_id="user", with_history=False)
        assert row
        return row.waiting_for

    assert await waiting_for() == ["contract/2", "heic"]
    store.register(connection, worker_id="old", capabilities=CAPABILITIES, slots=2, degraded=None)
    store.register(connection, worker_id="newer", capabilities=NEW[:-1], slots=2, degraded=None)
    assert await waiting_for() == ["heic"]
    assert await stats_store.count_unclaimable(async_connection) == {"heic": 1}
    store.register(connection, worker_id="new", capabilities=NEW, slots=2, degraded=None)
    assert await waiting_for() is None
    assert await stats_store.count_unclaimable(async_connection) == {}
    connection.execute("UPDATE workers SET seen_at = now() - interval '20 s'")
    assert await waiting_for() == ["contract/2", "heic"]
    take(connection, 1, NEW)
    assert await waiting_for() is None, "it is being processed"


def test_a_dead_worker_is_forgotten(connection: Connection) -> None:
    for name in ("dead", "alive"):
        store.register(connection, worker_id=name, capabilities=CAPABILITIES, slots=2, degraded=None)
    connection.execute("UPDATE workers SET seen_at = now() - interval '11 min'")
    store.register(connection, worker_id="alive", capabilities=CAPABILITIES, slots=2, degraded="disk full")
    assert connection.execute("SELECT worker_id, degraded FROM workers").fetchall() == [
        {"worker_id": "alive", "degraded": "disk full"}
    ]


async def test_a_worker_that_stops_is_no_longer_live(connection: Connection, async_connection: AsyncConnection) -> None:
    job_id = put(connection)
    store.register(connection, worker_id="alive", capabilities=CAPABILITIES, slots=2, degraded=None)
    row = await jobs_store.find(async_connection, job_id=job_id, user_id="user", with_history=False)
    assert row
    assert row.waiting_for is None
    store.unregister(connection, worker_id="alive")
    row = await jobs_store.find(async_connection, job_id=job_id, user_id="user", with_history=False)
    assert row
    assert row.waiting_for == ["any worker"]


# ── Delays, ends ─────────────────────────────────────────────────────────────────────────────────


def test_a_delayed_job_is_promoted_when_it_is_due_and_not_before(connection: Connection) -> None:
    due, later = put(connection, due_in=0.01), put(connection, due_in=60)
    time.sleep(0.02)
    assert store.promote_due(connection, limit=10) == 1
    assert [job.job_id for job in take(connection, 4)] == [due]
    assert (queue_row(connection, later) or {})["state"] == "delayed"
    assert_lanes_match(connection)


@pytest.mark.parametrize("status", ["queued", "processing", "delayed"])
@pytest.mark.parametrize("how", ["cancel", "erase"])
async def test_a_job_that_its_owner_ends_leaves_the_queue(
    connection: Connection, async_database: AsyncDatabase, status: str, how: str
) -> None:
    job_id = put(connection, "queued" if status == "delayed" else status, due_in=60 if status == "delayed" else 0)
    async with async_database.connection() as owned, owned.transaction():
        assert await getattr(transitions, how)(owned, job_id=job_id, user_id="user")
    assert queue_row(connection, job_id) is None
    assert row_of(connection, job_id)["status"] == "canceled"
    assert_lanes_match(connection)


def test_concurrent_claims_ends_and_reaps_deadlock_never_and_the_lanes_stay_right(
    connection: Connection, database_url: str
) -> None:
    users = [f"user-{number}" for number in range(6)]
    for user_id in users:
        put_many(connection, user_id, 150)
        for _ in range(20):
            put(connection, user_id=user_id, requires=["contract/1"])
    failures: list[BaseException] = []
    deadline = time.monotonic() + 3

    def work(seed: int) -> None:
        try:
            with psycopg.connect(database_url, autocommit=True, row_factory=dict_row, options=FOR_ALL_USERS) as own:
                while time.monotonic() < deadline:
                    _claim_and_end(own, random.Random(seed))  # noqa: S311 - no secret
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert_lanes_match(connection)


def _claim_and_end(connection: Connection, choose: random.Random) -> None:
    for job in take(connection, 4):
        _end_somehow(connection, job, choose)
    store.promote_due(connection, limit=50)


def _end_somehow(connection: Connection, job: ClaimedJob, choose: random.Random) -> None:
    lease: dict[str, Any] = {"error": ERROR, "stages": {}, "compute_time_ms": choose.randrange(50)}
    match choose.randrange(3):
        case 0:
            assert store.fail(connection, job.lease, **lease)
        case 1:
            assert store.release(connection, job.lease, delay=timedelta(0), counted=False, **lease)
        case _:
            assert store.release(connection, job.lease, delay=timedelta(milliseconds=5), counted=False, **lease)


# ── Locks, races, outages ────────────────────────────────────────────────────────────────────────


def open_connection(database_url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(database_url, autocommit=True, row_factory=dict_row, options=FOR_ALL_USERS)


def set_time(connection: Connection, user_id: str, virtual_ms: float) -> None:
    connection.execute("UPDATE queue_lanes SET virtual_ms = %s WHERE user_id = %s", (virtual_ms, user_id))


def share_of_newcomer(connection: Connection) -> Counter[str]:
    """Let a newcomer start jobs while `busy` has used much time; who gets the next 40 places."""
    put_many(connection, "busy", 100)
    set_time(connection, "busy", 800_000)
    assert Counter(job.user_id for job in take(connection, 4))["busy"] >= 3
    put_many(connection, "new", 100)
    served: Counter[str] = Counter()
    for _ in range(40):
        (job,) = take(connection)
        served[job.user_id] += 1
        end(connection, job, 100)
    return served


def test_a_job_that_no_worker_can_process_does_not_let_a_newcomer_starve_others(connection: Connection) -> None:
    put(connection, user_id="stuck", requires=["contract/99"])
    served = share_of_newcomer(connection)
    assert 15 <= served["new"] <= 25, served


async def test_a_user_at_their_limit_does_not_let_a_newcomer_starve_others(
    connection: Connection, async_connection: AsyncConnection
) -> None:
    await queue_store.set_share(async_connection, user_id="held", weight=1, max_active=1)
    put_many(connection, "held", 10)
    (job,) = take(connection)
    assert job.user_id == "held"
    served = share_of_newcomer(connection)
    assert 15 <= served["new"] <= 25, served


@pytest.mark.parametrize("how", ["start", "promotion"])
def test_a_newcomer_does_not_wait_behind_the_backlog_after_a_costly_job_of_another_user(
    connection: Connection, how: str
) -> None:
    put_many(connection, "costly", 2)
    costly, _ = take(connection, 2)
    put_many(connection, "backlogged", 100)
    end(connection, costly, 60_000)
    backlogged = connection.execute("SELECT virtual_ms FROM queue_lanes WHERE user_id = 'backlogged'").fetchone()
    put(connection, user_id="new", due_in=0 if how == "start" else 0.01)
    if how == "promotion":
        set_time(connection, "new", 0)
        time.sleep(0.02)
        assert store.promote_due(connection, limit=10) == 1
    assert connection.execute("SELECT virtual_ms FROM queue_lanes WHERE user_id = 'new'").fetchone() == backlogged
    assert "new" in {job.user_id for job in take(connection, 2)}


def test_a_user_whose_delayed_job_comes_due_has_no_credit(connection: Connection) -> None:
    late = put(connection, user_id="late", due_in=0.01)
    put_many(connection, "busy", 10)
    set_time(connection, "busy", 800_000)
    take(connection)
    time.sleep(0.02)
    assert store.promote_due(connection, limit=10) == 1
    row = connection.execute("SELECT virtual_ms FROM queue_lanes WHERE user_id = 'late'").fetchone()
    assert row == {"virtual_ms": 800_000}
    assert late in {job.job_id for job in take(connection, 2)}


def test_a_user_with_eight_lanes_gets_no_more_places_than_others(connection: Connection) -> None:
    able = [*CAPABILITIES, *(f"x/{number}" for number in range(8))]
    for number in range(8):
        for _ in range(8):
            put(connection, user_id="wide", requires=[f"x/{number}"])
    put_many(connection, "other", 8)
    set_time(connection, "other", 1)
    assert Counter(job.user_id for job in take(connection, 8, able)) == {"wide": 4, "other": 4}


async def test_canceled_jobs_are_charged_for_the_time_that_they_ran(
    connection: Connection, async_connection: AsyncConnection
) -> None:
    job = claimed(connection)
    connection.execute("UPDATE jobs SET started_at = now() - interval '10 s'")
    async with async_connection.transaction():
        assert await transitions.cancel(async_connection, job_id=job.job_id, user_id="user")
    row = connection.execute("SELECT virtual_ms, job_ms FROM queue_lanes").fetchone()
    assert row
    assert 10_000 <= row["virtual_ms"] < 15_000
    assert row["job_ms"] == 100


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_claim_does_not_wait_for_a_user_whose_lane_is_locked(
    connection: Connection, database_url: str, lanes: int
) -> None:
    for number in range(lanes):
        put(connection, user_id="frozen", requires=[f"contract/{1 + number}"])
    put_many(connection, "other", 1)
    set_time(connection, "other", 1000)
    with open_connection(database_url) as api, api.transaction():
        api.execute(
            "SELECT FROM queue_lanes WHERE user_id = 'frozen' ORDER BY requirement_id DESC LIMIT 1 FOR NO KEY UPDATE"
        )
        begin = time.monotonic()
        assert [job.user_id for job in take(connection)] == ["other"]
        assert take(connection) == []
        assert_within(2, begin)
    assert [job.user_id for job in take(connection)] == ["frozen"]
    assert_lanes_match(connection)


async def test_a_transaction_of_a_frozen_process_ends(async_database: AsyncDatabase, database: Database) -> None:
    statement = "SHOW idle_in_transaction_session_timeout"
    async with async_database.connection() as opened:
        assert await (await opened.execute(statement)).fetchone() == {"idle_in_transaction_session_timeout": "10s"}
    with database.connection() as worker:
        assert worker.execute(statement).fetchone() == {"idle_in_transaction_session_timeout": "10s"}

    async def freeze() -> None:
        async with async_database.connection() as opened, opened.transaction():
            await opened.execute("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
            await asyncio.sleep(0.2)
            await opened.execute("SELECT 1")

    with pytest.raises(StoreUnavailableError):
        await freeze()


def put_unqueued(connection: Connection, requires: str) -> UUID:
    job_id = put(connection, "created", requires=[requires])
    connection.execute("UPDATE jobs SET status = 'queued' WHERE job_id = %s", (job_id,))
    return job_id


def enqueue_in_thread(database_url: str, job_id: UUID) -> threading.Thread:
    def enqueue() -> None:
        with open_connection(database_url) as own:
            own.execute("SELECT enqueue_job(%s, NULL)", (job_id,))

    thread = threading.Thread(target=enqueue)
    thread.start()
    time.sleep(0.2)
    return thread


def test_concurrent_first_starts_with_different_requirements_lose_no_count(
    connection: Connection, database_url: str
) -> None:
    one, two = put_unqueued(connection, "contract/1"), put_unqueued(connection, "contract/99")
    with open_connection(database_url) as first, open_connection(database_url) as claims:
        with first.transaction():
            first.execute("SELECT enqueue_job(%s, NULL)", (two,))
            thread = enqueue_in_thread(database_url, one)
            take(claims)
        thread.join()
        take(claims)
    assert_lanes_match(connection)
    active = connection.execute("SELECT DISTINCT active FROM queue_lanes").fetchall()
    assert active == [{"active": 1}]


def test_starts_of_a_user_whose_last_job_is_being_claimed_do_not_deadlock(
    connection: Connection, database_url: str
) -> None:
    put(connection, requires=["contract/1"])
    same, other = put_unqueued(connection, "contract/1"), put_unqueued(connection, "contract/99")
    with open_connection(database_url) as claims, claims.transaction():
        assert len(take(claims)) == 1
        threads = [enqueue_in_thread(database_url, job_id) for job_id in (same, other)]
    for thread in threads:
        thread.join()
    assert queue_row(connection, same)
    assert queue_row(connection, other)
    assert_lanes_match(connection)


async def test_a_share_that_is_set_while_a_job_starts_is_kept(
    connection: Connection, async_connection: AsyncConnection, database_url: str
) -> None:
    job_id = put_unqueued(connection, "contract/1")
    async with async_connection.transaction():
        await queue_store.set_share(async_connection, user_id="user", weight=7, max_active=3)
        thread = enqueue_in_thread(database_url, job_id)
    thread.join()
    lanes = connection.execute("SELECT weight, max_active FROM queue_lanes").fetchall()
    assert lanes == [{"weight": 7, "max_active": 3}]


async def test_a_job_that_cannot_be_reaped_stops_no_others(
    connection: Connection, async_database: AsyncDatabase
) -> None:
    broken, good = claimed(connection, user_id="broken"), claimed(connection, user_id="good")
    connection.execute("UPDATE queue_lanes SET active = 0 WHERE user_id = 'broken'")
    connection.execute("UPDATE job_queue SET lease_until = now() - interval '1 s'")
    assert await LeaseReaper(async_database, lease=timedelta(0)).run_once() == 1
    assert row_of(connection, good.job_id)["status"] == "queued"
    assert row_of(connection, broken.job_id)["status"] == "processing"


async def test_leases_are_reaped_only_after_the_database_was_available_for_the_length_of_a_lease(
    connection: Connection, async_database: AsyncDatabase
) -> None:
    now = 0.0
    reaper = LeaseReaper(async_database, lease=timedelta(seconds=30), clock=lambda: now)
    claimed(connection)
    connection.execute("UPDATE job_queue SET lease_until = now() - interval '1 s'")
    assert await reaper.run_once() == 0
    now = 29
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(async_database, "connection", _unavailable)
        with pytest.raises(StoreUnavailableError):
            await reaper.run_once()
    now = 31
    assert await reaper.run_once() == 0
    now = 60
    assert await reaper.run_once() == 0
    now = 61
    assert await reaper.run_once() == 1


async def test_leases_are_reaped_at_once_that_expired_two_leases_ago(
    connection: Connection, async_database: AsyncDatabase
) -> None:
    claimed(connection)
    for expired_s, reaped in ((59, 0), (61, 1)):
        connection.execute("UPDATE job_queue SET lease_until = now() - make_interval(secs => %s)", (expired_s,))
        assert await LeaseReaper(async_database, lease=timedelta(seconds=30)).run_once() == reaped


@pytest.mark.parametrize(
    "error", [psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled]
)
async def test_a_canceled_statement_is_no_outage(
    connection: Connection, async_database: AsyncDatabase, monkeypatch: pytest.MonkeyPatch, error: type[psycopg.Error]
) -> None:
    job = claimed(connection)
    connection.execute("UPDATE job_queue SET lease_until = now() - interval '1 s'")
    reap = transitions.reap_expired

    async def fail_together(opened: AsyncConnection, **options: Any) -> list[transitions.ReapedRow]:  # noqa: ANN401
        if options.get("only") is None:
            raise error
        return await reap(opened, **options)

    monkeypatch.setattr(transitions, "reap_expired", fail_together)
    assert await LeaseReaper(async_database, lease=timedelta(0)).run_once() == 1
    assert row_of(connection, job.job_id)["status"] == "queued"


async def test_a_reaper_whose_statements_are_canceled_stays_patient_no_longer(
    connection: Connection, async_database: AsyncDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    reaper = LeaseReaper(async_database, lease=timedelta(seconds=30), clock=lambda: now)
    claimed(connection)
    connection.execute("UPDATE job_queue SET lease_until = now() - interval '1 s'")
    assert await reaper.run_once() == 0
    now = 31

    async def cancel(*_: object, **__: object) -> None:
        raise psycopg.errors.QueryCanceled

    with monkeypatch.context() as patch:
        patch.setattr(transitions, "reap_expired", cancel)
        patch.setattr(transitions, "find_expired", cancel)
        with pytest.raises(StoreUnavailableError):
            await reaper.run_once()
    assert await reaper.run_once() == 1


def _unavailable() -> None:
    raise StoreUnavailableError("away")


@pytest.mark.parametrize(("seen", "status", "attempts"), [("after", "queued", 0), ("before", "failed", 1)])
async def test_an_attempt_is_counted_only_if_its_worker_died(
    connection: Connection, async_connection: AsyncConnection, seen: str, status: str, attempts: int
) -> None:
    job = claimed(connection, max_attempts=1)
    store.register(connection, worker_id="worker", capabilities=CAPABILITIES, slots=1, degraded=None)
    connection.execute("UPDATE job_queue SET lease_until = now() - interval '10 s'")
    ago = timedelta(seconds=5 if seen == "after" else 12)
    connection.execute("UPDATE workers SET seen_at = now() - %s", (ago,))
    await transitions.reap_expired(async_connection, limit=10, exhausted="exhausted")
    row = row_of(connection, job.job_id)
    assert (row["status"], row["attempts"]) == (status, attempts)
    assert_lanes_match(connection)


def test_the_functions_of_triggers_are_called_by_nobody_else(connection: Connection) -> None:
    for name in ("make_event()", "add_orphan_deletion()"):
        row = connection.execute(
            "SELECT count(*) AS granted FROM aclexplode((SELECT proacl FROM pg_proc WHERE oid = %s::regprocedure)) "
            "WHERE grantee = 0",
            (name,),
        ).fetchone()
        assert row == {"granted": 0}
        acl = connection.execute("SELECT proacl FROM pg_proc WHERE oid = %s::regprocedure", (name,)).fetchone()
        assert acl
        assert acl["proacl"] is not None, "null: everybody may"


# ── Cost ─────────────────────────────────────────────────────────────────────────────────────────


def test_renewals_change_no_index(connection: Connection) -> None:
    leases = [claimed(connection).lease for _ in range(8)]
    connection.execute("SELECT pg_stat_force_next_flush()")
    statistics = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'job_queue'"
    before = connection.execute(statistics).fetchone()
    for _ in range(10):
        assert len(store.renew(connection, [store.Renewal(each) for each in leases], lease=LEASE)) == 8
    connection.execute("SELECT pg_stat_force_next_flush()")
    after = connection.execute(statistics).fetchone()
    assert before
    assert after
    assert after["n_tup_upd"] - before["n_tup_upd"] == 80
    assert after["n_tup_hot_upd"] - before["n_tup_hot_upd"] == 80


def _fill(connection: Connection, *, jobs: int, users: int) -> None:
    connection.execute("TRUNCATE jobs, queue_lanes, requirement_sets CASCADE")
    connection.execute(
        """
        INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, max_attempts)
        SELECT gen_random_uuid(), 'user-' || n %% %s, 'queued', 's3_presigned', 'x', '[]', 5
        FROM generate_series(1, %s) AS n
        """,
        (users, jobs),
    )
    connection.execute("INSERT INTO requirement_sets (requires) VALUES ('{contract/1}'), ('{heic}')")
    connection.execute(
        """
        INSERT INTO job_queue (job_id, user_id, requirement_id, state, priority, due_at, lease_token)
        SELECT job_id, user_id, (SELECT requirement_id FROM requirement_sets WHERE requires = '{contract/1}'),
               'waiting', 1, now() - random() * interval '1 h', 0 FROM jobs
        """
    )
    connection.execute(
        """
        INSERT INTO queue_lanes (user_id, requirement_id, waiting, virtual_ms)
        SELECT user_id, requirement_id, count(*), 1000 * random() FROM job_queue GROUP BY user_id, requirement_id
        """
    )
    connection.execute("VACUUM ANALYZE jobs, job_queue, queue_lanes")


def _pages_of_a_claim(connection: Connection) -> int:
    for _ in range(8):  # so that the plans are the generic ones, as in a worker of some age
        take(connection, 4)
    row = connection.execute(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM claim_jobs(4, '{contract/1,heic}', 'w', '1 min', '{}')"
    ).fetchone()
    assert row
    (plan,) = row["QUERY PLAN"]
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


def test_a_claim_reads_as_much_with_100_jobs_as_with_30000_and_10000_users(connection: Connection) -> None:
    pages = {}
    for jobs, users in ((100, 10), (30_000, 10), (30_000, 1), (30_000, 10_000)):
        _fill(connection, jobs=jobs, users=users)
        pages[jobs, users] = _pages_of_a_claim(connection)
    # Indexes get a level or two deeper, and no two of the claimed jobs are on the same page.
    assert max(pages.values()) <= 2.5 * pages[100, 10], pages


def test_a_job_that_is_queued_while_a_worker_claims_comes_with_all_its_columns(
    database_url: str, connection: Connection
) -> None:
    """The statement that claims is older than the job: it waits for the table while the job is inserted."""
    columns: dict[str, Any] = {
        "source_version": "v1",
        "source_version_run": 1,
        "source_bucket": "originals",
        "priority": 2,
    }
    with (
        Database(database_url, max_connections=1, application="test") as other,
        ThreadPoolExecutor(1) as pool,
        other.connection() as writing,
    ):
        with writing.transaction():
            writing.execute("LOCK TABLE queue_lanes")
            claiming = pool.submit(take, connection)
            _await_lock(writing, claiming)
            job_id = put(writing, source_type="bucket", run=1, **columns)
        [job] = claiming.result()
    assert job.job_id == job_id
    assert (job.source_version, job.source_bucket, job.priority) == ("v1", "originals", 2)


def _await_lock(connection: Connection, claiming: Future[Any]) -> None:
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'queue_lanes'::regclass"
    while connection.execute(waiting).fetchone() is None:
        assert not claiming.done(), "it did not wait"
        time.sleep(0.01)
