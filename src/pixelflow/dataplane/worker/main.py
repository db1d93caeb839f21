"""The worker process: receives messages, claims jobs, renews leases. Composition root of the data plane.

It must never decode an image itself; transform children do.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog
from opentelemetry.trace import Tracer
from structlog.contextvars import bound_contextvars

from pixelflow.adapters.postgres.database import AsyncDatabase, Database
from pixelflow.adapters.queue import Consumer, JobQueue
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.telemetry.health import HealthChecks, run_health_checks_in_thread
from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.adapters.telemetry.metrics import Readiness, new_registry, serve_metrics
from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.adapters.termination import Termination
from pixelflow.contracts.errors import StoreUnavailableError
from pixelflow.contracts.jobs import SourceType
from pixelflow.contracts.messages import ProcessImage
from pixelflow.dataplane.child import confinement
from pixelflow.dataplane.protocol import TransformLimits
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.attempt import AttemptRunner, JobLimits
from pixelflow.dataplane.worker.child_process import ChildLimits
from pixelflow.dataplane.worker.health import Reason, WorkerHealth
from pixelflow.dataplane.worker.leases import LeaseKeeper, ShutdownRequestedError
from pixelflow.dataplane.worker.metrics import WorkerMetrics
from pixelflow.dataplane.worker.resources import Capacity, capacity_of
from pixelflow.dataplane.worker.sandbox import Sandbox
from pixelflow.dataplane.worker.scratch import scratch_folder
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.dataplane.worker.transfers import Transfers
from pixelflow.settings import Settings

_RELEASE_SECONDS = 2.0
_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Process jobs until SIGTERM or SIGINT, then finish or release the jobs in progress. A second signal ends the wait.

    Raises:
        SettingsError: the metrics port is in use, the scratch folder can't be used, or the trace exporter's settings
            are not valid.
    """
    configure_logs(settings, role="worker")
    confinement.disable_dumpable()
    termination = Termination()
    registry, readiness = new_registry(), Readiness()
    with (
        serve_metrics(registry, settings, role="worker", readiness=readiness),
        open_tracer(role="worker") as tracer,
        ExitStack() as stack,
    ):
        capacity = capacity_of(settings)
        worker = _build(settings, capacity, WorkerMetrics(registry), tracer, stack)
        readiness.reasons = lambda: worker.health.reasons
        worker.consumer.start()
        _log.info("worker started", **vars(capacity))
        termination.wait()
        readiness.reasons = lambda: ["stopping"]
        _log.info("worker stopping", grace_seconds=settings.worker_grace_seconds)
        worker.stop(termination, grace_seconds=settings.worker_grace_seconds)
    _log.info("worker stopped")


@dataclass(frozen=True)
class _Worker:
    """The running parts of a worker."""

    keeper: LeaseKeeper
    consumer: Consumer
    runner: AttemptRunner
    health: WorkerHealth

    def stop(self, termination: Termination, *, grace_seconds: float) -> None:
        """Claim no more jobs, wait for those in progress until the grace period or another signal, release the rest."""
        self.runner.drain()
        self.health.close()
        self.consumer.leave()
        deadline = time.monotonic() + grace_seconds
        while not self.consumer.join(0):
            if time.monotonic() >= deadline or termination.wait(_POLL_SECONDS):
                self.keeper.interrupt_all(ShutdownRequestedError())
                self.consumer.join(_RELEASE_SECONDS)
                return


def _build(settings: Settings, capacity: Capacity, metrics: WorkerMetrics, tracer: Tracer, stack: ExitStack) -> _Worker:
    scratch = stack.enter_context(scratch_folder(settings.worker_temp_dir))
    health = WorkerHealth(
        scratch=scratch,
        min_free_bytes=_min_free_bytes(settings),
        on_change=metrics.set_degraded,
    )
    sandbox = _start_sandbox(settings, capacity, scratch, metrics, stack)
    objects = ObjectStorage(settings)
    stack.callback(objects.close)
    database = stack.enter_context(
        Database(
            settings.database_url.get_secret_value(),
            max_connections=capacity.places + 1,
            application="pixelflow-worker",
        )
    )
    health.add_checks({Reason.OBJECT_STORAGE: objects.check, Reason.DATABASE: database.ping})
    health.start()
    stack.callback(health.close)
    lease = timedelta(seconds=settings.lease_seconds)
    keeper = LeaseKeeper(database, lease=lease)
    keeper.start()
    stack.callback(keeper.close)
    transfers = Transfers(
        {SourceType.S3_PRESIGNED: objects, SourceType.LOCAL_FILE: LocalFiles(settings.local_roots)},
        health=health,
        max_source_bytes=settings.max_source_bytes,
        parallel_uploads=capacity.places,
    )
    stack.callback(transfers.close)
    runner = AttemptRunner(
        database=database,
        sandbox=sandbox,
        transfers=transfers,
        health=health,
        limits=_job_limits(settings),
        scratch=scratch,
        metrics=metrics,
        tracer=tracer,
    )
    consumer = Consumer(
        settings.redis_url.get_secret_value(),
        threads=capacity.places,
        handle=_message_handler(database, keeper, runner, health, lease),
        on_rejected=metrics.count_rejected_message,
    )
    stack.callback(consumer.close)
    stack.enter_context(run_health_checks_in_thread(partial(_health_checks, settings, objects, metrics)))
    return _Worker(keeper, consumer, runner, health)


def _min_free_bytes(settings: Settings) -> int:
    configured = settings.worker_min_free_bytes
    return settings.max_source_bytes if configured is None else configured


def _start_sandbox(
    settings: Settings, capacity: Capacity, scratch: Path, metrics: WorkerMetrics, stack: ExitStack
) -> Sandbox:
    limits = ChildLimits(memory_bytes=capacity.child_memory_bytes, seconds=settings.job_timeout_seconds)
    sandbox = Sandbox(slots=capacity.slots, limits=limits, scratch=scratch, child_started=metrics.count_child_start)
    metrics.observe_slots(capacity.slots, lambda: sandbox.active)
    stack.callback(sandbox.close)
    sandbox.start()
    return sandbox


def _job_limits(settings: Settings) -> JobLimits:
    return JobLimits(
        transform=TransformLimits(
            max_source_pixels=settings.max_source_pixels,
            max_output_pixels=settings.max_output_pixels,
            max_output_bytes=settings.max_output_bytes,
        ),
        max_wait_seconds=settings.job_max_wait_seconds,
    )


@asynccontextmanager
async def _health_checks(
    settings: Settings, objects: ObjectStorage, metrics: WorkerMetrics
) -> AsyncIterator[HealthChecks]:
    """Check dependencies over separate connections: a thread that waits for a hanging database could not be stopped."""
    queue = JobQueue(settings.redis_url.get_secret_value())
    url = settings.database_url.get_secret_value()
    try:
        async with AsyncDatabase(url, max_connections=1, application="pixelflow-worker") as database:
            yield HealthChecks(
                {
                    "postgres": database.ping,
                    "redis": partial(asyncio.to_thread, queue.ping),
                    "object_storage": objects.ping,
                },
                on_status=metrics.process.set_dependency_up,
            )
    finally:
        queue.close()


def _message_handler(
    database: Database, keeper: LeaseKeeper, runner: AttemptRunner, health: WorkerHealth, lease: timedelta
) -> Callable[[ProcessImage], None]:
    worker_id = f"{socket.gethostname()}:{os.getpid()}"

    def handle(message: ProcessImage) -> None:
        with bound_contextvars(job_id=str(message.job_id)):
            if not health.wait_until_fit(_PATIENCE_SECONDS):  # the relay sends another message
                return
            with health.attempt():
                process(message)

    def process(message: ProcessImage) -> None:
        start_ns = time.time_ns()
        job = claim(message)
        if job is None:
            return
        with bound_contextvars(user_id=job.user_id, attempt=job.lease_token), keeper.track(job.lease) as active_lease:
            runner.run(job, active_lease, claim_start_ns=start_ns)

    def claim(message: ProcessImage) -> ClaimedJob | None:
        try:
            with database.connection() as connection:
                job = store.claim(connection, job_id=message.job_id, worker_id=worker_id, lease=lease)
        except StoreUnavailableError as error:  # the job stays queued; the relay sends another message
            health.record_failure(Reason.DATABASE)
            _log.warning("job not claimed: database unavailable", code=error.code)
            return None
        health.record_success(Reason.DATABASE)
        if job is None:
            _log.debug("job not claimable")
        return job

    return handle
