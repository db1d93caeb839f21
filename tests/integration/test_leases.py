"""Leases: renewed in the background; losing one interrupts its attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
import structlog
from tests.integration.job_rows import claimed, queue_row, steal
from tests.support.waiting import eventually

from pixelflow.adapters.postgres.database import Connection, Database
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.leases import LeaseKeeper, LeaseLostError, ShutdownRequestedError
from pixelflow.dataplane.worker.store import Lease
from pixelflow.devstack.ports import LOOPBACK

LEASE = timedelta(seconds=30)


class Clock:
    """A monotonic clock that advances only by assignment."""

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
    """A keeper whose database is unreachable."""
    with Database(f"postgresql://nobody@{LOOPBACK}:1/nothing", max_connections=1, application="test") as nowhere:
        yield LeaseKeeper(nowhere, lease=LEASE, clock=clock)


def test_renewal_extends_a_lease(connection: Connection, keeper: LeaseKeeper, clock: Clock) -> None:
    job = claimed(connection)
    connection.execute("UPDATE job_queue SET lease_until = now() + interval '1 s'")
    with keeper.track(job.lease) as active:
        clock.now += 20
        keeper.run_once()
        active.check()
        assert active.until == clock.now + LEASE.total_seconds()
    row = connection.execute("SELECT lease_until > now() + interval '29 s' AS renewed FROM job_queue").fetchone()
    assert row == {"renewed": True}


def test_all_leases_are_renewed_in_one_statement(connection: Connection, keeper: LeaseKeeper) -> None:
    first, second = claimed(connection), claimed(connection)
    with keeper.track(first.lease), keeper.track(second.lease):
        keeper.run_once()
    row = connection.execute("SELECT count(DISTINCT lease_until) AS moments FROM job_queue").fetchone()
    assert row == {"moments": 1}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("DELETE FROM job_queue WHERE job_id = %s", id="canceled"),
        pytest.param("SELECT requeue_job(%s, interval '0', NULL)", id="reaped"),
        pytest.param(
            "UPDATE job_queue SET lease_token = lease_token + 1 WHERE job_id = %s", id="claimed by another worker"
        ),
    ],
)
def test_a_lost_lease_interrupts_its_own_work_only(connection: Connection, keeper: LeaseKeeper, change: str) -> None:
    lost, kept = claimed(connection), claimed(connection)
    canceled: list[str] = []
    with keeper.track(lost.lease) as lost_lease, keeper.track(kept.lease) as kept_lease:
        lost_lease.set_cancel_hook(lambda: canceled.append("lost"))
        kept_lease.set_cancel_hook(lambda: canceled.append("kept"))
        connection.execute(change, (lost.job_id,))
        keeper.run_once()
        with pytest.raises(LeaseLostError):
            lost_lease.check()
        kept_lease.check()
    assert canceled == ["lost"]


def test_a_short_database_outage_interrupts_nothing(cut_off_keeper: LeaseKeeper, clock: Clock) -> None:
    with cut_off_keeper.track(Lease(uuid4(), token=1)) as active:
        clock.now += LEASE.total_seconds() - 1
        cut_off_keeper.run_once()
        cut_off_keeper.expire_once()
        active.check()


def test_a_database_outage_longer_than_the_lease_interrupts_the_work(cut_off_keeper: LeaseKeeper, clock: Clock) -> None:
    canceled: list[bool] = []
    with cut_off_keeper.track(Lease(uuid4(), token=1)) as active:
        active.set_cancel_hook(lambda: canceled.append(True))
        clock.now += LEASE.total_seconds()
        cut_off_keeper.expire_once()
        with pytest.raises(LeaseLostError):
            active.check()
    assert canceled == [True]


def test_an_untracked_lease_is_not_renewed(connection: Connection, keeper: LeaseKeeper) -> None:
    job = claimed(connection)
    with keeper.track(job.lease):
        pass
    before = queue_row(connection, job.job_id)
    keeper.run_once()
    assert queue_row(connection, job.job_id) == before


def test_a_shutdown_interrupts_all_work(connection: Connection, keeper: LeaseKeeper) -> None:
    with keeper.track(claimed(connection).lease) as active:
        keeper.interrupt_all(ShutdownRequestedError())
        keeper.interrupt_all(LeaseLostError())
        with pytest.raises(ShutdownRequestedError):
            active.check()


def test_the_keeper_renews_leases_in_its_own_thread(connection: Connection, database: Database) -> None:
    job = claimed(connection)
    keeper = LeaseKeeper(database, lease=timedelta(seconds=0.3))
    keeper.start()
    try:
        with keeper.track(job.lease) as active:
            until_before = active.until
            connection.execute("DELETE FROM job_queue")
            _until_lost(active.check)
            assert active.until >= until_before
    finally:
        keeper.close()


def _until_lost(check: Callable[[], None]) -> None:
    def is_lost() -> bool:
        try:
            check()
        except LeaseLostError:
            return True
        return False

    eventually(is_lost)


def test_renewing_a_newer_lease_of_a_job_does_not_renew_the_older_one(
    connection: Connection, keeper: LeaseKeeper
) -> None:
    job = claimed(connection)
    with keeper.track(job.lease) as older:
        connection.execute("UPDATE job_queue SET lease_token = lease_token + 1 WHERE job_id = %s", (job.job_id,))
        with keeper.track(Lease(job.job_id, job.lease_token + 1)) as newer:
            keeper.run_once()
            newer.check()
            with pytest.raises(LeaseLostError):
                older.check()


@pytest.mark.parametrize("still_tracked", [True, False])
def test_a_job_that_has_ended_while_its_lease_is_renewed_is_not_reported_as_lost(
    connection: Connection, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch, still_tracked: bool
) -> None:
    job = claimed(connection)
    with keeper.track(job.lease) as active, structlog.testing.capture_logs() as lines:

        def renew(*_: object, **__: object) -> set[Lease]:
            if not still_tracked:
                keeper._active.discard(active)
            return set()

        monkeypatch.setattr(store, "renew", renew)
        if still_tracked:
            with active.recorded():
                keeper.run_once()
        else:
            keeper.run_once()
        active.check()
    assert lines == []


def test_a_lease_that_is_lost_after_a_failed_recording_is_reported(connection: Connection, keeper: LeaseKeeper) -> None:
    job = claimed(connection)
    with keeper.track(job.lease) as active:
        with pytest.raises(ConnectionError), active.recorded():
            raise ConnectionError
        steal(connection)
        keeper.run_once()
        with pytest.raises(LeaseLostError):
            active.check()


def test_every_hook_is_called_once_the_lease_is_interrupted(connection: Connection, keeper: LeaseKeeper) -> None:
    called: list[str] = []
    with keeper.track(claimed(connection).lease) as active:
        with active.on_interrupt(lambda: called.append("ended before")):
            pass
        with active.on_interrupt(lambda: called.append("first")), active.on_interrupt(lambda: called.append("second")):
            active.interrupt(ShutdownRequestedError())
        with active.on_interrupt(lambda: called.append("begun after")):
            pass
    assert called == ["first", "second", "begun after"]
