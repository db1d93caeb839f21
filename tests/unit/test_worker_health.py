"""Whether a worker claims jobs: it takes itself out, says why, and comes back by itself."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import structlog
from tests.support.waiting import assert_within, eventually
from tests.unit.test_breaker import Clock

from pixelflow.dataplane.worker import health as health_module
from pixelflow.dataplane.worker.breaker import FAILURES, MAX_DELAY_SECONDS, Breaker
from pixelflow.dataplane.worker.health import MIN_FREE_INODES, Reason, WorkerHealth
from pixelflow.errors import ObjectsUnavailableError


class Storage:
    """A storage that can be away."""

    away = False

    def check(self) -> None:
        if self.away:
            raise ObjectsUnavailableError("away")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes() -> list[tuple[str, bool]]:
    return []


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def health(tmp_path: Path, clock: Clock, changes: list[tuple[str, bool]], storage: Storage) -> WorkerHealth:
    health = WorkerHealth(
        scratch=tmp_path,
        min_free_bytes=1000,
        on_change=lambda reason, degraded: changes.append((reason.value, degraded)),
        new_breaker=partial(Breaker, clock=clock, jitter=lambda: 1.0),
    )
    health.add_checks({Reason.OBJECT_STORAGE: storage.check})
    health.check_once()
    return health


def _fail(health: WorkerHealth, reason: Reason, times: int = FAILURES) -> None:
    for _ in range(times):
        health.record_failure(reason)


def test_a_healthy_worker_claims_any_number_of_jobs(health: WorkerHealth) -> None:
    assert (health.may_claim(), health.room(5), health.reasons) == (True, None, [])


def test_a_worker_whose_storage_is_away_claims_nothing_until_it_is_back(
    health: WorkerHealth, clock: Clock, storage: Storage, changes: list[tuple[str, bool]]
) -> None:
    storage.away = True
    _fail(health, Reason.OBJECT_STORAGE)
    assert (health.may_claim(), health.reasons) == (False, [Reason.OBJECT_STORAGE])
    for _ in range(5):
        clock.now += MAX_DELAY_SECONDS
        health.check_once()
        assert not health.may_claim()
    storage.away = False
    clock.now += MAX_DELAY_SECONDS
    health.check_once()
    assert health.room(0) == 1, "a trial"
    assert health.room(1) == 0
    health.record_success(Reason.OBJECT_STORAGE)
    assert health.room(1) is None
    assert changes == [("object_storage", True), ("object_storage", False)], "once each"


def test_a_check_that_succeeds_while_jobs_fail_lets_one_job_through_at_a_time(
    health: WorkerHealth, clock: Clock
) -> None:
    _fail(health, Reason.OBJECT_STORAGE)
    for _ in range(4):
        clock.now += MAX_DELAY_SECONDS
        health.check_once()
        assert health.room(1) == 0
        health.record_failure(Reason.OBJECT_STORAGE)
        assert not health.may_claim()


@pytest.mark.parametrize("reason", [Reason.RESOURCES, Reason.CHILD_START])
def test_one_failure_of_the_machine_suffices(health: WorkerHealth, reason: Reason) -> None:
    health.record_failure(reason)
    assert health.reasons == [reason]


class Disk:
    """What ``statvfs`` reports."""

    f_frsize, f_bavail, f_files, f_favail = 1, 10**9, 10**6, 10**6


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("f_bavail", 999, Reason.SCRATCH_BYTES),
        ("f_favail", MIN_FREE_INODES - 1, Reason.SCRATCH_INODES),
    ],
)
def test_a_worker_with_a_full_disk_claims_nothing_until_there_is_space(
    health: WorkerHealth, monkeypatch: pytest.MonkeyPatch, name: str, value: int, reason: Reason
) -> None:
    disk = Disk()
    monkeypatch.setattr(os, "statvfs", lambda _path: disk)
    setattr(disk, name, value)
    health.check_once()
    assert (health.may_claim(), health.reasons) == (False, [reason])
    setattr(disk, name, 10**6)
    health.check_once()
    assert health.may_claim()


def test_a_file_system_without_inodes_is_no_reason(health: WorkerHealth, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    disk.f_files = disk.f_favail = 0
    monkeypatch.setattr(os, "statvfs", lambda _path: disk)
    health.check_once()
    assert health.may_claim()


def test_a_worker_that_can_not_write_stays_out(
    health: WorkerHealth, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    health.record_failure(Reason.RESOURCES)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", _raising(OSError(errno.EDQUOT, "Disk quota exceeded")))
        clock.now += MAX_DELAY_SECONDS
        health.check_once()
        assert not health.may_claim()
    clock.now += MAX_DELAY_SECONDS
    health.check_once()
    assert health.room(0) == 1


def _raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_reason_is_logged_once(health: WorkerHealth) -> None:
    with structlog.testing.capture_logs() as lines:
        _fail(health, Reason.DATABASE, 10)
    assert [(line["event"], line["reason"]) for line in lines] == [("worker degraded: it claims no jobs", "database")]


def test_a_check_that_hangs_does_not_stop_the_others(
    health: WorkerHealth, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "CHECK_SECONDS", 0.05)
    hanging, calls = threading.Event(), []

    def hang() -> None:
        calls.append(1)
        hanging.wait(60)

    health.add_checks({Reason.DATABASE: hang, Reason.OBJECT_STORAGE: hang})
    for reason in (Reason.OBJECT_STORAGE, Reason.DATABASE, Reason.CHILD_START):
        _fail(health, reason)
    began = time.monotonic()
    for _ in range(3):
        clock.now += MAX_DELAY_SECONDS
        health.check_once()
    assert_within(5, began)
    assert health.reasons == [Reason.DATABASE, Reason.OBJECT_STORAGE], "children are tried"
    assert len(calls) == 2, "one thread for each"
    hanging.set()
    eventually(lambda: not health.reasons)


def test_a_check_with_a_bug_keeps_the_worker_out(health: WorkerHealth, clock: Clock) -> None:
    health.add_checks({Reason.DATABASE: _raising(ValueError("a bug"))})
    _fail(health, Reason.DATABASE)
    clock.now += MAX_DELAY_SECONDS
    with structlog.testing.capture_logs() as lines:
        health.check_once()
    assert [line["event"] for line in lines] == ["worker health check failed"]
    assert health.reasons == [Reason.DATABASE]
