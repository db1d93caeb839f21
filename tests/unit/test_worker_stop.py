"""A worker that stops while its database hangs: it ends at the grace period, or at a second signal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import pytest
from tests.support.waiting import DEADLINE_SECONDS, assert_within, eventually

from pixelflow.dataplane.worker import main, store
from pixelflow.dataplane.worker.claims import UNREGISTER_SECONDS, ClaimLimits, ClaimLoop, Places, Worker
from pixelflow.dataplane.worker.leases import LeaseKeeper, ShutdownRequestedError
from pixelflow.dataplane.worker.main import _RunningWorker

PROMPT_SECONDS = 3 + UNREGISTER_SECONDS + main._RELEASE_SECONDS


class Database:
    """A database that hangs until it is released."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.released = threading.Event()

    @contextmanager
    def connection(self) -> Iterator[None]:
        self.asked.set()
        self.released.wait(60)
        yield


class Signals:
    """A second signal that arrives after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def wait(self, seconds: float) -> bool:
        time.sleep(seconds)
        return time.monotonic() >= self._at


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database()
    yield database
    database.released.set()


@pytest.fixture
def ran() -> list[object]:
    return []


@pytest.fixture
def worker(database: Database, ran: list[object], monkeypatch: pytest.MonkeyPatch) -> Iterator[_RunningWorker]:
    monkeypatch.setattr(store, "claim", lambda *_, **__: [SimpleNamespace(job_id="a job", user_id="user")])
    monkeypatch.setattr(store, "unregister", lambda *_, **__: None)
    places = Places(2, lambda job, _: ran.append(job.job_id))
    arguments: dict[str, Any] = {"database": database, "worker": Worker("test", (), 2), "wakeups": MagicMock()}
    claims = ClaimLoop(
        **arguments, lease=timedelta(seconds=30), limits=ClaimLimits(places.capacity), submit=places.submit
    )
    places.start()
    claiming = threading.Thread(target=claims.run_once, daemon=True)
    claiming.start()
    assert database.asked.wait(DEADLINE_SECONDS)
    worker = _RunningWorker(MagicMock(), claims, places, MagicMock(), MagicMock())
    yield worker
    database.released.set()
    claiming.join(DEADLINE_SECONDS)
    places.close()
    assert places.join(DEADLINE_SECONDS)
    eventually(lambda: not any(thread.name == "unregister" for thread in threading.enumerate()))


def _ends_promptly(work: Callable[[], None]) -> None:
    began = time.monotonic()
    work()
    assert time.monotonic() - began > 0.2
    assert_within(PROMPT_SECONDS, began)


def test_a_second_signal_ends_a_worker_whose_claim_hangs(worker: _RunningWorker) -> None:
    signals: Any = Signals(0.2)
    _ends_promptly(lambda: worker.stop(signals, grace_seconds=60))


def test_the_grace_period_ends_a_worker_whose_claim_hangs(worker: _RunningWorker) -> None:
    signals: Any = Signals(60)
    _ends_promptly(lambda: worker.stop(signals, grace_seconds=0.2))


def test_jobs_of_a_claim_in_progress_are_still_run(
    worker: _RunningWorker, database: Database, ran: list[object]
) -> None:
    threading.Timer(0.3, database.released.set).start()
    signals: Any = Signals(60)
    worker.stop(signals, grace_seconds=60)
    assert ran == ["a job"]


def test_jobs_of_a_claim_that_returns_after_the_deadline_are_run_before_the_worker_ends(
    worker: _RunningWorker, database: Database, ran: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def release(job: Any, _claim_start_ns: int) -> None:  # noqa: ANN401
        time.sleep(0.3)
        ran.append(job.job_id)

    monkeypatch.setattr(worker.places, "_run", release)
    monkeypatch.setattr(main, "_RELEASE_SECONDS", DEADLINE_SECONDS)
    threading.Timer(0.5, database.released.set).start()
    signals: Any = Signals(60)
    worker.stop(signals, grace_seconds=0.1)
    assert ran == ["a job"]


def test_a_lease_that_is_tracked_after_the_shutdown_is_interrupted_at_once() -> None:
    keeper = LeaseKeeper(MagicMock(), lease=timedelta(seconds=30))
    keeper.interrupt_all(ShutdownRequestedError())
    with keeper.track(store.Lease(UUID(int=1), 1)) as lease, pytest.raises(ShutdownRequestedError):
        lease.check()


def test_a_submitted_job_is_in_hand_before_it_starts() -> None:
    places = Places(3, lambda *_: None)
    job: Any = SimpleNamespace(job_id="a job", user_id="user")
    places.submit(job, 0)
    assert (places.in_hand(), places.capacity()) == (1, 2)
