"""Leases: kept while the worker can say so, and their work ended as soon as it can't."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.integration.job_rows import claimed, row_of

from pixelflow.adapters.postgres.database import Connection, Database
from pixelflow.dataplane.worker.leases import LeaseKeeper, LeaseLostError, ShutdownRequestedError
from pixelflow.dataplane.worker.store import Lease
from pixelflow.devstack.ports import LOOPBACK

LEASE = timedelta(seconds=30)


class Clock:
    """A monotonic clock that stands still."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(database: Database, clock: Clock) -> LeaseKeeper:
    return LeaseKeeper(database, lease=LEASE, clock=clock)


@pytest.fixture
def cut_off_keeper(clock: Clock) -> Iterator[LeaseKeeper]:
    """One whose database does not answer."""
    with Database(f"postgresql://nobody@{LOOPBACK}:1/nothing", max_connections=1, application="test") as nowhere:
        nowhere._pool.timeout = 0.05
        yield LeaseKeeper(nowhere, lease=LEASE, clock=clock)


def test_a_renewed_lease_lasts_on(connection: Connection, keeper: LeaseKeeper, clock: Clock) -> None:
    job = claimed(connection)
    connection.execute("UPDATE jobs SET lease_until = now() + interval '1 s'")
    with keeper.hold(job.lease) as held:
        clock.now += 20
        keeper.run_once()
        held.check()
        assert held.until == clock.now + LEASE.total_seconds()
    row = connection.execute("SELECT lease_until > now() + interval '29 s' AS renewed FROM jobs").fetchone()
    assert row == {"renewed": True}


def test_all_leases_are_renewed_in_one_statement(connection: Connection, keeper: LeaseKeeper) -> None:
    first, second = claimed(connection), claimed(connection)
    with keeper.hold(first.lease), keeper.hold(second.lease):
        keeper.run_once()
    row = connection.execute("SELECT count(DISTINCT lease_until) AS moments FROM jobs").fetchone()
    assert row == {"moments": 1}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("status = 'canceled', finished_at = now(), lease_until = NULL", id="canceled"),
        pytest.param("status = 'queued', lease_until = NULL", id="rescued"),
        pytest.param("lease_token = lease_token + 1", id="given to another worker"),
    ],
)
def test_a_lost_lease_ends_its_work_and_no_other(connection: Connection, keeper: LeaseKeeper, change: str) -> None:
    lost, kept = claimed(connection), claimed(connection)
    killed: list[str] = []
    with keeper.hold(lost.lease) as losing, keeper.hold(kept.lease) as keeping:
        losing.on_child(lambda: killed.append("losing"))
        keeping.on_child(lambda: killed.append("keeping"))
        connection.execute(f"UPDATE jobs SET {change} WHERE job_id = %s", (lost.job_id,))  # noqa: S608  # from the table above
        keeper.run_once()
        with pytest.raises(LeaseLostError):
            losing.check()
        keeping.check()
    assert killed == ["losing"]


def test_a_database_that_is_away_for_a_moment_ends_nothing(cut_off_keeper: LeaseKeeper, clock: Clock) -> None:
    with cut_off_keeper.hold(Lease(uuid4(), token=1)) as held:
        clock.now += LEASE.total_seconds() - 1
        cut_off_keeper.run_once()
        cut_off_keeper.expire_once()
        held.check()


def test_a_database_that_is_away_past_the_lease_ends_the_work(cut_off_keeper: LeaseKeeper, clock: Clock) -> None:
    killed: list[bool] = []
    with cut_off_keeper.hold(Lease(uuid4(), token=1)) as held:
        held.on_child(lambda: killed.append(True))
        clock.now += LEASE.total_seconds()
        cut_off_keeper.expire_once()
        with pytest.raises(LeaseLostError):
            held.check()
    assert killed == [True]


def test_what_is_let_go_of_is_not_renewed(connection: Connection, keeper: LeaseKeeper) -> None:
    job = claimed(connection)
    with keeper.hold(job.lease):
        pass
    before = row_of(connection, job.job_id)
    keeper.run_once()
    assert row_of(connection, job.job_id) == before


def test_a_leaving_worker_interrupts_all_work(connection: Connection, keeper: LeaseKeeper) -> None:
    with keeper.hold(claimed(connection).lease) as held:
        keeper.interrupt_all(ShutdownRequestedError())
        keeper.interrupt_all(LeaseLostError())
        with pytest.raises(ShutdownRequestedError):
            held.check()


def test_leases_are_renewed_by_the_keeper_s_own_thread(connection: Connection, database: Database) -> None:
    job = claimed(connection)
    keeper = LeaseKeeper(database, lease=timedelta(seconds=0.3))
    keeper.start()
    try:
        with keeper.hold(job.lease) as held:
            began = held.until
            connection.execute("UPDATE jobs SET status = 'queued', lease_until = NULL")
            _until_lost(held.check)
            assert held.until >= began
    finally:
        keeper.close()


def _until_lost(check: Callable[[], None]) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            check()
        except LeaseLostError:
            return
        time.sleep(0.01)
    pytest.fail("the lease was not found lost")


def test_a_newer_lease_of_the_same_job_does_not_keep_the_older_one(connection: Connection, keeper: LeaseKeeper) -> None:
    job = claimed(connection)
    with keeper.hold(job.lease) as older:
        connection.execute("UPDATE jobs SET lease_token = lease_token + 1 WHERE job_id = %s", (job.job_id,))
        with keeper.hold(Lease(job.job_id, job.lease_token + 1)) as newer:
            keeper.run_once()
            newer.check()
            with pytest.raises(LeaseLostError):
                older.check()
