"""The worker process: receives messages, claims jobs, renews leases. Composition root of the data plane.

It must never decode an image itself; transform children do.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from queue import SimpleQueue

import structlog
from opentelemetry.trace import Tracer
from structlog.contextvars import bound_contextvars

from pixelflow.adapters.postgres.database import AsyncDatabase, Database
from pixelflow.adapters.queue import Consumer, JobQueue
from pixelflow.adapters.readiness import notify_ready
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.telemetry.health import HealthChecks, run_health_checks_in_thread
from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.adapters.telemetry.metrics import new_registry, serve_metrics
from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.contracts.errors import StoreUnavailableError
from pixelflow.contracts.jobs import SourceType
from pixelflow.contracts.messages import ProcessImage
from pixelflow.dataplane.child import confinement
from pixelflow.dataplane.protocol import TransformLimits
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.attempt import AttemptRunner, JobLimits
from pixelflow.dataplane.worker.child_process import ChildLimits
from pixelflow.dataplane.worker.leases import LeaseKeeper, ShutdownRequestedError
from pixelflow.dataplane.worker.metrics import WorkerMetrics
from pixelflow.dataplane.worker.sandbox import Sandbox
from pixelflow.dataplane.worker.scratch import scratch_folder
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.settings import Settings

_RELEASE_SECONDS = 2.0

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Process jobs until SIGTERM or SIGINT, then finish or release the jobs in progress.

    Raises:
        SettingsError: the metrics port is in use, or the trace exporter's settings are not valid.
    """
    configure_logs(settings, role="worker")
    confinement.disable_dumpable()
    stop: SimpleQueue[int] = SimpleQueue()  # an Event can deadlock if a signal interrupts a signal handler
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_, lambda number, _: stop.put(number))
    registry = new_registry()
    with serve_metrics(registry, settings, role="worker"), open_tracer(role="worker") as tracer, ExitStack() as stack:
        keeper, consumer = _build(settings, WorkerMetrics(registry), tracer, stack)
        consumer.start()
        _log.info("worker started", threads=settings.worker_concurrency, slots=settings.worker_max_active_jobs)
        notify_ready()
        stop.get()
        _log.info("worker stopping", grace_seconds=settings.worker_grace_seconds)
        consumer.leave()
        if not consumer.join(settings.worker_grace_seconds):
            keeper.interrupt_all(ShutdownRequestedError())
            consumer.join(_RELEASE_SECONDS)
    _log.info("worker stopped")


def _build(
    settings: Settings, metrics: WorkerMetrics, tracer: Tracer, stack: ExitStack
) -> tuple[LeaseKeeper, Consumer]:
    scratch = stack.enter_context(scratch_folder(settings.worker_temp_dir))
    child_limits = ChildLimits(memory_bytes=settings.worker_child_memory_bytes, seconds=settings.job_timeout_seconds)
    slots = settings.worker_max_active_jobs
    sandbox = Sandbox(slots=slots, limits=child_limits, scratch=scratch, child_started=metrics.count_child_start)
    metrics.observe_slots(slots, lambda: sandbox.active)
    stack.callback(sandbox.close)
    sandbox.start()
    objects = ObjectStorage(settings)
    database = stack.enter_context(
        Database(
            settings.database_url.get_secret_value(),
            max_connections=settings.worker_concurrency + 1,
            application="pixelflow-worker",
        )
    )
    lease = timedelta(seconds=settings.lease_seconds)
    keeper = LeaseKeeper(database, lease=lease)
    keeper.start()
    stack.callback(keeper.close)
    runner = AttemptRunner(
        database=database,
        sandbox=sandbox,
        storages={
            SourceType.S3_PRESIGNED: objects,
            SourceType.LOCAL_FILE: LocalFiles(settings.local_roots),
        },
        limits=JobLimits(
            max_source_bytes=settings.max_source_bytes,
            transform=TransformLimits(
                max_source_pixels=settings.max_source_pixels,
                max_output_pixels=settings.max_output_pixels,
                max_output_bytes=settings.max_output_bytes,
            ),
        ),
        scratch=scratch,
        metrics=metrics,
        tracer=tracer,
    )
    consumer = Consumer(
        settings.redis_url.get_secret_value(),
        threads=settings.worker_concurrency,
        handle=_message_handler(database, keeper, runner, lease),
        on_rejected=metrics.count_rejected_message,
    )
    stack.callback(consumer.close)
    stack.enter_context(run_health_checks_in_thread(partial(_health_checks, settings, objects, metrics)))
    return keeper, consumer


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
    database: Database, keeper: LeaseKeeper, runner: AttemptRunner, lease: timedelta
) -> Callable[[ProcessImage], None]:
    worker_id = f"{socket.gethostname()}:{os.getpid()}"

    def handle(message: ProcessImage) -> None:
        with bound_contextvars(job_id=str(message.job_id)):
            start_ns = time.time_ns()
            job = claim(message)
            if job is None:
                return
            with (
                bound_contextvars(user_id=job.user_id, attempt=job.lease_token),
                keeper.track(job.lease) as active_lease,
            ):
                runner.run(job, active_lease, claim_start_ns=start_ns)

    def claim(message: ProcessImage) -> ClaimedJob | None:
        try:
            with database.connection() as connection:
                job = store.claim(connection, job_id=message.job_id, worker_id=worker_id, lease=lease)
        except StoreUnavailableError as error:  # the job stays queued; the relay sends another message
            _log.warning("job not claimed: database unavailable", code=error.code)
            return None
        if job is None:
            _log.debug("job not claimable")
        return job

    return handle
