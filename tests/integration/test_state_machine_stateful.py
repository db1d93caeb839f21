"""Invariants of a job hold after every step, in any order of actions of its owner, workers and controllers."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import obstore
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row
from tests.integration.job_rows import assert_lanes_match

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase, Connection, Database
from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.capabilities import worker_capabilities
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.states import FINISHED, TRANSITIONS, JobStatus
from pixelflow.controlplane.jobs import transitions
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.queue import store as queue_store
from pixelflow.controlplane.retention.gc import FileCollector, RowCollector
from pixelflow.controlplane.retention.periods import RetentionPeriods
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.dataplane.worker.store import Lease, OutputRow, SourceFacts, UsageRow
from pixelflow.devstack.stack import Stack
from pixelflow.errors import PixelflowError, SourceMissingError
from pixelflow.settings import Settings

MAX_ATTEMPTS = 2
LEASE = timedelta(hours=1)
"""Longer than the test: no lease expires by itself."""
EXAMPLES, STEPS = 30, 40
MAX_LIVING = 2
"""Few jobs, so that much happens to each."""
CHOICES = 4
CHOICE = st.integers(0, CHOICES - 1)
RETRIABLE = (JobStatus.FAILED, JobStatus.CANCELED)
UNFINISHED = (JobStatus.CREATED, JobStatus.QUEUED, JobStatus.PROCESSING)
EVENT_TYPES = {"succeeded": "job.completed", "failed": "job.failed", "canceled": "job.canceled"}
_T = TypeVar("_T")


# ── What a worker writes under a lease ───────────────────────────────────────────────────────────


def _renew(connection: Connection, lease: Lease) -> bool:
    return worker_store.renew(connection, [worker_store.Renewal(lease)], lease=LEASE) == {lease}


def _succeed(connection: Connection, lease: Lease) -> bool:
    key = f"outputs/{lease.job_id}/{lease.token}/thumb.webp"
    return worker_store.succeed(
        connection,
        lease,
        source=SourceFacts(24, "", "jpeg", 1, 1),
        outputs=[OutputRow("thumb", 0, "resize", "webp", key, 1, 1, 1, "")],
        usage=UsageRow(1, 23, 1),
        stages={},
    )


def _fail(connection: Connection, lease: Lease) -> bool:
    error = {"code": "undecodable", "message": "The source is damaged", "step_id": None}
    return worker_store.fail(connection, lease, error=error, stages={}, compute_time_ms=5)


def _hand_back(connection: Connection, lease: Lease, *, seconds: float = 0, counted: bool = False) -> bool:
    delay = timedelta(seconds=seconds)
    return worker_store.release(
        connection, lease, delay=delay, counted=counted, error=None, stages={}, compute_time_ms=3
    )


WRITES: Mapping[str, Callable[[Connection, Lease], bool]] = {
    "renew": _renew,
    "succeed": _succeed,
    "fail": _fail,
    "say goodbye": _hand_back,
    "retry": partial(_hand_back, seconds=3600, counted=True),
}


@dataclass
class World:
    """The real services, shared by all examples."""

    jobs: JobService
    control: AsyncDatabase
    workers: Database
    eye: psycopg.Connection[dict[str, Any]]
    objects: ObjectStorage
    rows: RowCollector
    files: FileCollector
    run: Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Servers of its own: no other worker or controller may touch these jobs."""
    home = Path(tempfile.mkdtemp(prefix="pixelflow-test-"))
    home.chmod(0o755)
    try:
        with Stack.open(home / "stack", echo=lambda _: None) as stack:
            stack.start_servers()
            migrate(stack.environment["PIXELFLOW_DATABASE_URL"])
            yield from _assembled(stack)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _assembled(stack: Stack) -> Iterator[World]:
    values = {name.removeprefix("PIXELFLOW_").lower(): value for name, value in stack.environment.items()}
    configured = Settings.model_validate({**values, "retention_source_days": 1, "max_attempts": MAX_ATTEMPTS})
    url = configured.database_url.get_secret_value()
    wakeups = WakeUpSender(configured.redis_url.get_secret_value())
    control = AsyncDatabase(url, max_connections=2, application="test", scope=EVERYONE)
    with (
        asyncio.Runner() as runner,
        Database(url, max_connections=1, application="test") as workers,
        psycopg.connect(
            url, autocommit=True, row_factory=dict_row, options="-c pixelflow.tenant_scope=everyone"
        ) as eye,
    ):
        runner.run(control.__aenter__())
        objects, local_files = ObjectStorage(configured), LocalFiles(())
        jobs = JobService(
            configured,
            database=control,
            wakeups=wakeups,
            objects=objects,
            local_files=local_files,
        )
        rows = RowCollector(control, RetentionPeriods.of(configured))
        files = FileCollector(control, objects, local_files, upload_grace=configured.upload_grace)
        yield World(jobs, control, workers, eye, objects, rows, files, runner.run)
        runner.run(control.__aexit__(None, None, None))


@dataclass
class Snapshot:
    """All rows of the jobs of one example."""

    jobs: dict[UUID, dict[str, Any]]
    attempts: dict[UUID, list[dict[str, Any]]] = field(default_factory=dict)
    usage: dict[UUID, list[dict[str, Any]]] = field(default_factory=dict)
    events: dict[UUID, list[dict[str, Any]]] = field(default_factory=dict)


def _any(*wanted: JobStatus) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The step is taken only while a job is in one of these statuses."""
    return precondition(lambda machine: machine.jobs_in(*wanted))


class Life(RuleBasedStateMachine):
    """The owner, workers and controllers of a few jobs, in any order of actions."""

    world: World

    @initialize()
    def begin(self) -> None:
        self.user_id = f"user-{uuid4()}"
        self.leases: list[Lease] = []
        self.billed: set[UUID] = set()
        self.before = self.look()

    def teardown(self) -> None:
        self.world.eye.execute("DELETE FROM jobs WHERE user_id = %s", (self.user_id,))
        for table in ("usage_logs", "queue_lanes", "failed_usage"):
            self.world.eye.execute(f"DELETE FROM {table} WHERE starts_with(user_id, %s)", (self.user_id,))  # noqa: S608 - our own names

    def jobs_in(self, *wanted: JobStatus) -> list[UUID]:
        """Those that are not erased."""
        rows = self.before.jobs.items()
        return [job_id for job_id, row in rows if row["status"] in wanted and row["erased_at"] is None]

    def current_leases(self) -> list[Lease]:
        """Leases under which a worker may write."""
        return [lease for lease in self.leases if self.is_current(lease)]

    def stale_leases(self) -> list[Lease]:
        """Leases that were lost, released or ended; those of jobs with another active lease first."""
        stale = [lease for lease in reversed(self.leases) if not self.is_current(lease)]
        return sorted(stale, key=lambda lease: self.before.jobs[lease.job_id]["status"] != "processing")[:CHOICES]

    def newest_first(self) -> list[UUID]:
        """All jobs, also erased ones."""
        return list(reversed(self.before.jobs))

    # ── Its owner ────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: len(self.jobs_in(*JobStatus)) < MAX_LIVING)
    @rule(has_webhook=st.booleans(), started=st.booleans())
    def create(self, has_webhook: bool, started: bool) -> None:
        job_id = new_id()
        request = CreateJobRequest.model_validate(
            {
                "webhook_url": "https://client.example/hook" if has_webhook else None,
                "pipeline": [{"id": "thumb", "action": "resize", "width": 10}],
            }
        )
        self.world.run(self.world.jobs.create(self.user_id, request, job_id=job_id))
        obstore.put(self.world.objects._metadata_store, source_key(job_id), b"what a worker would read")
        if started:
            self.world.run(self.world.jobs.start(self.user_id, job_id, traceparent=None))

    @_any(JobStatus.CREATED)
    @rule(which=CHOICE)
    def start(self, which: int) -> None:
        job_id = _pick(self.jobs_in(JobStatus.CREATED), which)
        self.world.run(self.world.jobs.start(self.user_id, job_id, traceparent=None))

    @_any(*RETRIABLE)
    @rule(which=CHOICE)
    def retry(self, which: int) -> None:
        job_id = _pick(self.jobs_in(*RETRIABLE), which)
        expired = self.before.jobs[job_id]["source_expired_at"] is not None
        with pytest.raises(SourceMissingError) if expired else nullcontext():
            self.world.run(self.world.jobs.retry(self.user_id, job_id, traceparent=None))

    @_any(*UNFINISHED)
    @rule(which=CHOICE)
    def cancel(self, which: int) -> None:
        self.world.run(self.world.jobs.cancel(self.user_id, _pick(self.jobs_in(*UNFINISHED), which)))

    @_any(*JobStatus)
    @rule(which=CHOICE)
    def erase(self, which: int) -> None:
        self.world.run(self.world.jobs.erase(self.user_id, _pick(self.jobs_in(*JobStatus), which)))

    @precondition(lambda self: self.before.jobs)
    @rule(which=CHOICE, what=st.sampled_from(["start", "retry", "cancel"]))
    def ask_out_of_turn(self, which: int, what: str) -> None:
        """A use case may raise or change nothing."""
        job_id = _pick(self.jobs_in(*FINISHED) or self.newest_first(), which)
        extra = {} if what == "cancel" else {"traceparent": None}
        with suppress(PixelflowError):
            self.world.run(getattr(self.world.jobs, what)(self.user_id, job_id, **extra))

    # ── Workers ──────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.before.jobs)
    @rule(places=st.integers(1, 3))
    def claim(self, places: int) -> None:
        claimed = self.write(
            lambda connection: worker_store.claim(
                connection, places=places, capabilities=worker_capabilities(), worker_id="w", lease=LEASE
            )
        )
        waiting = [row for row in self.before.jobs.values() if row["state"] == "waiting"]
        assert len(claimed) == min(places, len(waiting))
        assert {job.job_id for job in claimed} <= {row["job_id"] for row in waiting}
        assert {job.user_id for job in claimed} <= {self.user_id}
        self.leases += [job.lease for job in claimed]

    @precondition(lambda self: self.current_leases())
    @rule(which=CHOICE, what=st.sampled_from(sorted(WRITES)))
    def write_in_turn(self, which: int, what: str) -> None:
        lease = _pick(self.current_leases(), which)
        if what == "retry" and self.before.jobs[lease.job_id]["attempts"] >= MAX_ATTEMPTS:
            what = "fail"  # as a worker does
        assert self.write(lambda connection: WRITES[what](connection, lease))
        counted = self.before.jobs[lease.job_id]["attempts"] - (what == "say goodbye")
        assert self.look().jobs[lease.job_id]["attempts"] == counted

    @precondition(lambda self: self.stale_leases())
    @rule(which=CHOICE, what=st.sampled_from(sorted(WRITES)))
    def write_too_late(self, which: int, what: str) -> None:
        lease = _pick(self.stale_leases(), which)
        assert not self.write(lambda connection: WRITES[what](connection, lease))
        assert self.look() == self.before

    def write(self, statement: Callable[[Any], _T]) -> _T:
        with self.world.workers.connection() as connection:
            return statement(connection)

    def is_current(self, lease: Lease) -> bool:
        row = self.before.jobs[lease.job_id]
        return bool(row["status"] == "processing" and row["lease_token"] == lease.token)

    # ── Time, and controllers ────────────────────────────────────────────────────────────────────

    @_any(JobStatus.PROCESSING)
    @rule(which=CHOICE, rescued=st.booleans())
    def lease_runs_out(self, which: int, rescued: bool) -> None:
        """The reaper finds it next, or the worker writes before."""
        statement = "UPDATE job_queue SET lease_until = now() - interval '1 s' WHERE job_id = %s"
        self.world.eye.execute(statement, (_pick(self.jobs_in(JobStatus.PROCESSING), which),))
        if rescued:
            self.rescue()

    @_any(JobStatus.PROCESSING)
    @rule()
    def rescue(self) -> None:
        async def rescue() -> None:
            async with self.world.control.connection() as connection:
                await transitions.reap_expired(connection, limit=100, exhausted="silent each time")

        before = self.look().jobs
        self.world.run(rescue())
        after = self.look().jobs
        for job_id, row in before.items():
            exhausted = row["attempts"] >= MAX_ATTEMPTS
            is_next = ("failed" if exhausted else "queued") if row["expired"] else row["status"]
            assert after[job_id]["status"] == is_next

    @_any(JobStatus.QUEUED)
    @rule()
    def backoff_is_over(self) -> None:
        statement = "UPDATE job_queue SET due_at = now() WHERE user_id = %s AND state = 'delayed'"
        self.world.eye.execute(statement, (self.user_id,))
        self.write(lambda connection: worker_store.promote_due(connection, limit=100))

    @rule()
    def idle_lanes_are_deleted(self) -> None:
        """Another user, who has more time, lets those of this user be deleted; a promotion may be next."""
        self.world.eye.execute(
            "INSERT INTO queue_lanes (user_id, requirement_id, virtual_ms) "
            "SELECT %s, 1, coalesce(max(virtual_ms), 0) + 1e9 FROM queue_lanes "
            "ON CONFLICT (user_id, requirement_id) DO UPDATE SET virtual_ms = excluded.virtual_ms",
            (f"{self.user_id}-other",),
        )

        async def delete() -> None:
            async with self.world.control.connection() as connection:
                await queue_store.delete_idle_lanes(connection, limit=10)

        self.world.run(delete())
        lanes = self.world.eye.execute("SELECT FROM queue_lanes WHERE user_id = %s", (self.user_id,)).fetchall()
        assert bool(lanes) == any(row["state"] for row in self.before.jobs.values())

    @_any(*FINISHED)
    @rule()
    def sources_expire(self) -> None:
        statement = "UPDATE jobs SET finished_at = finished_at - interval '2 days' WHERE user_id = %s"
        self.world.eye.execute(statement, (self.user_id,))
        self.world.run(self.world.rows.run_once())

    @precondition(lambda self: self.before.jobs)
    @rule()
    def expired_files_are_deleted(self) -> None:
        self.world.eye.execute("UPDATE pending_deletions SET due_at = now() WHERE kind <> 'job'")
        self.world.run(self.world.files.run_once())
        for job_id in self.jobs_in(*UNFINISHED):
            assert self.world.run(self.world.objects.size_of(source_key(job_id))), "it may be needed"

    # ── Laws ─────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def laws_hold(self) -> None:
        now = self.look()
        for job_id, row in now.jobs.items():
            earlier = self.before.jobs.get(job_id)
            _check_transition(earlier, row)
            _check_attempts(row, now.attempts.get(job_id, []))
            _check_events(row, now.events.get(job_id, []))
            self._check_usage(job_id, row, now.usage.get(job_id, []))
        assert self.before.jobs.keys() <= now.jobs.keys()
        assert_lanes_match(self.world.eye)
        self.before = now

    def _check_usage(self, job_id: UUID, row: dict[str, Any], usage: list[dict[str, Any]]) -> None:
        if row["status"] == "succeeded":
            self.billed.add(job_id)
        assert len(usage) == (job_id in self.billed)
        assert all(billed["user_id"] == self.user_id for billed in usage)

    def look(self) -> Snapshot:
        rows = self.world.eye.execute(
            "SELECT jobs.*, state, lease_until, coalesce(lease_until < now(), false) AS expired, "
            "queue.lease_token AS queue_token FROM jobs LEFT JOIN job_queue AS queue USING (job_id) "
            "WHERE jobs.user_id = %s ORDER BY job_id",
            (self.user_id,),
        ).fetchall()
        snapshot = Snapshot({row["job_id"]: row for row in rows})
        for table, kept in (
            ("attempts", snapshot.attempts),
            ("usage_logs", snapshot.usage),
            ("events", snapshot.events),
        ):
            statement = f"SELECT * FROM {table} WHERE job_id = ANY(%s) ORDER BY job_id"  # noqa: S608 - our own names
            for row in self.world.eye.execute(statement, (list(snapshot.jobs),)).fetchall():
                kept.setdefault(row["job_id"], []).append(row)
        return snapshot


def _pick(choices: Sequence[_T], which: int) -> _T:
    return choices[which % len(choices)]


def _check_transition(earlier: dict[str, Any] | None, row: dict[str, Any]) -> None:
    status = JobStatus(row["status"])
    if earlier is None:
        assert status in {JobStatus.CREATED, JobStatus.QUEUED}  # created, and perhaps started
    elif status != earlier["status"]:
        assert status in TRANSITIONS[JobStatus(earlier["status"])]
        assert earlier["erased_at"] is None
    if earlier is not None:
        is_new_run = earlier["status"] in FINISHED and status is JobStatus.QUEUED
        assert row["run"] == earlier["run"] + is_new_run
        assert row["lease_token"] >= earlier["lease_token"]
    in_queue = {JobStatus.QUEUED: {"waiting", "delayed"}, JobStatus.PROCESSING: {"active"}}
    assert row["state"] in in_queue.get(status, {None})
    assert row["queue_token"] in {None, row["lease_token"]}
    assert row["attempts"] <= row["max_attempts"]


def _check_attempts(row: dict[str, Any], tried: list[dict[str, Any]]) -> None:
    assert len(tried) == row["lease_token"]
    still_open = [attempt["attempt"] for attempt in tried if attempt["ended_at"] is None]
    assert still_open == ([row["lease_token"]] if row["status"] == "processing" else [])
    assert all((attempt["ended_at"] is None) == (attempt["outcome"] is None) for attempt in tried)


def _check_events(row: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """One event per finished run, of the type of its status, if the job has a webhook."""
    if row["erased_at"] is not None or row["webhook_url"] is None:
        assert not events
        return
    ended = row["run"] if row["status"] in FINISHED else row["run"] - 1
    by_run = {event["run"]: event["type"] for event in events}
    assert len(by_run) == len(events)
    assert sorted(by_run) == list(range(1, ended + 1))
    if row["status"] in FINISHED:
        assert by_run[row["run"]] == EVENT_TYPES[row["status"]]


def test_the_invariants_of_a_job_hold_in_any_order_of_actions(world: World) -> None:
    Life.world = world
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
