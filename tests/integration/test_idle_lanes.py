"""Lanes of users who have nothing in the queue are deleted; no job is lost by it, and no user gains or loses time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from tests.integration.job_rows import assert_lanes_match, claimed, put
from tests.integration.test_queue import (
    _end_somehow,
    end,
    enqueue_in_thread,
    open_connection,
    put_many,
    put_unqueued,
    serve,
    set_time,
    take,
)
from tests.support.waiting import eventually

from pixelflow.adapters.postgres.database import AsyncConnection, Connection
from pixelflow.controlplane.queue import store as queue_store
from pixelflow.dataplane.worker import store

_WAITING_AT_MOST = 10
_DELETING = "SELECT 1 AS found FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


def put_idle(connection: Connection, *user_ids: str) -> None:
    """Leave an idle lane of each user, at the virtual time of the last."""
    for user_id in user_ids:
        end(connection, claimed(connection, user_id=user_id, requires=["contract/1"]), 100)
        set_time(connection, user_id, 100)


def delete_lanes(connection: Connection, limit: int = 1000) -> int:
    row = connection.execute("SELECT delete_idle_lanes(%s) AS lanes", (limit,)).fetchone()
    assert row
    lanes: int = row["lanes"]
    return lanes


def users_of_lanes(connection: Connection) -> list[str]:
    rows = connection.execute("SELECT DISTINCT user_id FROM queue_lanes ORDER BY user_id").fetchall()
    return [row["user_id"] for row in rows]


async def test_only_lanes_of_idle_users_behind_the_busy_ones_are_deleted(
    connection: Connection, async_connection: AsyncConnection
) -> None:
    put_idle(connection, "ahead", "behind", "delayed", "most", "settings", "two lanes")
    await queue_store.set_share(async_connection, user_id="settings", weight=1, max_active=3)
    set_time(connection, "ahead", 9000)
    set_time(connection, "most", 10_000)
    put(connection, user_id="delayed", due_in=60)
    for requires in (["contract/1"], ["contract/99"]):
        put(connection, user_id="two lanes", requires=requires)
    put(connection, user_id="busy")
    set_time(connection, "busy", 5000)
    set_time(connection, "delayed", 100)
    set_time(connection, "two lanes", 5000)
    assert await queue_store.delete_idle_lanes(async_connection, limit=10) == 1
    assert users_of_lanes(connection) == ["ahead", "busy", "delayed", "most", "settings", "two lanes"]
    assert await queue_store.delete_idle_lanes(async_connection, limit=10) == 0
    assert_lanes_match(connection)


def test_the_user_who_had_most_is_kept_while_nobody_is_busy(connection: Connection) -> None:
    put_idle(connection, *(f"user-{number}" for number in range(5)))
    set_time(connection, "user-3", 700)
    assert [delete_lanes(connection, limit=3) for _ in range(3)] == [3, 1, 0]
    assert users_of_lanes(connection) == ["user-3"]
    put(connection, user_id="user-1")
    row = connection.execute("SELECT virtual_ms FROM queue_lanes WHERE user_id = 'user-1'").fetchone()
    assert row == {"virtual_ms": 700}


@pytest.mark.parametrize("deleted", [False, True])
def test_a_user_who_returns_is_served_as_if_the_lane_had_been_kept(connection: Connection, deleted: bool) -> None:
    put_idle(connection, "returning")
    put_many(connection, "busy", 100)
    serve(connection, {"busy": 100}, places=3, total_ms=3000)
    if deleted:
        assert delete_lanes(connection) == 1
    put_many(connection, "returning", 50)
    used = serve(connection, {"busy": 100, "returning": 100}, places=1, total_ms=2000)
    assert used["busy"] == used["returning"] == 1000


def test_charges_that_the_ends_of_attempts_may_correct_delete_no_lane(connection: Connection) -> None:
    put_idle(connection, "idle")
    put_many(connection, "busy", 4)
    connection.execute("UPDATE queue_lanes SET virtual_ms = 0, job_ms = 10_000 WHERE user_id = 'busy'")
    set_time(connection, "idle", 5000)
    first, *others = take(connection, 4)
    end(connection, first, 10)
    assert delete_lanes(connection) == 0
    for job in others:
        end(connection, job, 10)
    assert users_of_lanes(connection) == ["busy", "idle"]


# ── Races ────────────────────────────────────────────────────────────────────────────────────────


def test_a_lane_to_which_a_job_is_being_added_is_kept(connection: Connection, database_url: str) -> None:
    put_idle(connection, "user", "other")
    set_time(connection, "other", 500)
    job_id = put_unqueued(connection, "contract/1")
    with open_connection(database_url) as starts, starts.transaction():
        starts.execute("SELECT enqueue_job(%s, NULL)", (job_id,))
        assert delete_lanes(connection) == 0
    assert_lanes_match(connection)


def test_a_deletion_waits_for_no_lock(connection: Connection, database_url: str) -> None:
    put_idle(connection, "first", "other", "second")
    set_time(connection, "other", 500)
    connection.execute("SET lock_timeout = '50ms'")
    with open_connection(database_url) as holder, holder.transaction():
        holder.execute("SELECT FROM queue_lanes WHERE user_id = 'first' FOR NO KEY UPDATE")
        assert delete_lanes(connection) == 1
    with open_connection(database_url) as holder, holder.transaction():
        holder.execute("SELECT pg_advisory_xact_lock(hashtextextended('first', 0))")
        assert delete_lanes(connection) == 0
    assert users_of_lanes(connection) == ["first", "other"]


def test_a_job_that_starts_while_its_lane_is_being_deleted_gets_a_new_one(
    connection: Connection, database_url: str
) -> None:
    put_idle(connection, "user", "other")
    set_time(connection, "other", 500)
    job_id = put_unqueued(connection, "contract/1")
    connection.execute(
        """
        CREATE FUNCTION wait_a_little() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END';
        CREATE TRIGGER slow BEFORE DELETE ON queue_lanes FOR EACH STATEMENT EXECUTE FUNCTION wait_a_little()
        """
    )
    try:
        with ThreadPoolExecutor(1) as pool, open_connection(database_url) as deletes:
            deleting = pool.submit(delete_lanes, deletes)
            eventually(lambda: connection.execute(_DELETING).fetchone())
            enqueue_in_thread(database_url, job_id).join()
            assert deleting.result() == 1
    finally:
        connection.execute("DROP FUNCTION wait_a_little CASCADE")
    assert_lanes_match(connection)
    assert [job.job_id for job in take(connection)] == [job_id]


def test_a_lane_whose_delayed_job_is_being_promoted_is_kept(connection: Connection, database_url: str) -> None:
    put_idle(connection, "user", "other")
    set_time(connection, "other", 500)
    job_id = put(connection, due_in=60, requires=["contract/1"])
    connection.execute("UPDATE job_queue SET due_at = now()")
    set_time(connection, "user", 100)
    with open_connection(database_url) as promotes, promotes.transaction():
        assert store.promote_due(promotes, limit=10) == 1
        assert delete_lanes(connection) == 0
    assert_lanes_match(connection)
    assert [job.job_id for job in take(connection)] == [job_id]


def start_some(connection: Connection, choose: random.Random) -> None:
    """Start a job, but not while so many wait that no lane would ever be idle, however slow the machine is."""
    time.sleep(0.004)
    if len(connection.execute("SELECT FROM job_queue LIMIT %s", (_WAITING_AT_MOST,)).fetchall()) == _WAITING_AT_MOST:
        return
    requires = [choose.choice(["contract/1", "contract/99"])]
    job_id = put(connection, "created", user_id=f"user-{choose.randrange(20)}", requires=requires)
    connection.execute(
        "WITH moved AS (UPDATE jobs SET status = 'queued' WHERE job_id = %s RETURNING job_id) "
        "SELECT enqueue_job(job_id, NULL) FROM moved",
        (job_id,),
    )


def serve_some(connection: Connection, choose: random.Random) -> None:
    for job in take(connection, 2, ["contract/1", "contract/99"]):
        _end_somehow(connection, job, choose)
    store.promote_due(connection, limit=50)


def test_starts_claims_ends_and_deletions_at_the_same_time_lose_no_job(
    connection: Connection, database_url: str
) -> None:
    """Many users with a job or two each, so that their lanes are idle again and again."""
    failures: list[BaseException] = []
    deleted: list[int] = []
    started = time.monotonic()

    def is_on() -> bool:
        """For as long as no lane was deleted too: on a busy machine that takes longer."""
        return time.monotonic() < started + (1.5 if any(deleted) else 30)

    def repeat(step: Callable[[Connection, random.Random], object], seed: int) -> None:
        choose = random.Random(seed)  # noqa: S311 - no secret
        try:
            with open_connection(database_url) as own:
                while is_on():
                    step(own, choose)
        except psycopg.Error as error:
            failures.append(error)

    steps = [start_some, start_some, serve_some, serve_some, lambda own, _: deleted.append(delete_lanes(own))]
    threads = [threading.Thread(target=repeat, args=(step, seed)) for seed, step in enumerate(steps)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(deleted) > 0
    assert_lanes_match(connection)
