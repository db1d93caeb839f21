"""The worker process: takes messages, claims jobs, keeps leases. Composition root of the data plane.

Never decodes a picture itself: that is for its children.
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
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.telemetry.health import HealthChecks, run_health_checks_in_thread
from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.adapters.telemetry.metrics import new_registry, serve_metrics
from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.contracts.errors import StoreUnavailableError
from pixelflow.contracts.jobs import SourceType
from pixelflow.contracts.messages import ProcessImage
from pixelflow.dataplane.child import confine
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

_HAND_BACK_SECONDS = 2.0

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then finish or hand back what is in hand.

    Raises:
        SettingsError: the port of the metrics is taken, or traces are to go where none can be sent.
    """
    configure_logs(settings, role="worker")
    confine.hide_from_children()
    stop: SimpleQueue[int] = SimpleQueue()  # an Event would deadlock on a signal within a signal
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_, lambda number, _: stop.put(number))
    registry = new_registry()
    with serve_metrics(registry, settings, role="worker"), open_tracer(role="worker") as tracing, ExitStack() as stack:
        keeper, consumer = _assemble(settings, WorkerMetrics(registry), tracing, stack)
        consumer.start()
        _log.info("worker started", threads=settings.worker_concurrency, slots=settings.worker_max_active_jobs)
        stop.get()
        _log.info("worker stopping", grace_seconds=settings.worker_grace_seconds)
        consumer.leave()
        if not consumer.join(settings.worker_grace_seconds):
            keeper.interrupt_all(ShutdownRequestedError())
            consumer.join(_HAND_BACK_SECONDS)
    _log.info("worker stopped")


def _assemble(
    settings: Settings, metrics: WorkerMetrics, tracing: Tracer, stack: ExitStack
) -> tuple[LeaseKeeper, Consumer]:
    scratch = stack.enter_context(scratch_folder(settings.worker_temp_dir))
    limits = ChildLimits(memory_bytes=settings.worker_child_memory_bytes, seconds=settings.job_timeout_seconds)
    slots = settings.worker_max_active_jobs
    sandbox = Sandbox(slots=slots, limits=limits, scratch=scratch, child_started=metrics.child_started)
    metrics.has_slots(slots, lambda: sandbox.active)
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
        bounds=JobLimits(
            max_source_bytes=settings.max_source_bytes,
            transform=TransformLimits(
                max_source_pixels=settings.max_source_pixels,
                max_output_pixels=settings.max_output_pixels,
                max_output_bytes=settings.max_output_bytes,
            ),
        ),
        scratch=scratch,
        metrics=metrics,
        tracing=tracing,
    )
    consumer = Consumer(
        settings.redis_url.get_secret_value(),
        threads=settings.worker_concurrency,
        handle=_handler(database, keeper, runner, lease),
        rejected=metrics.message_rejected,
    )
    stack.callback(consumer.close)
    stack.enter_context(run_health_checks_in_thread(partial(_dependencies, settings, objects, metrics)))
    return keeper, consumer


@asynccontextmanager
async def _dependencies(
    settings: Settings, objects: ObjectStorage, metrics: WorkerMetrics
) -> AsyncIterator[HealthChecks]:
    """Asked by connections of their own: a thread that waits for a hanging database could not be told to stop."""
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


def _handler(
    database: Database, keeper: LeaseKeeper, runner: AttemptRunner, lease: timedelta
) -> Callable[[ProcessImage], None]:
    worker_id = f"{socket.gethostname()}:{os.getpid()}"

    def handle(message: ProcessImage) -> None:
        with bound_contextvars(job_id=str(message.job_id)):
            begun_ns = time.time_ns()
            job = claim(message)
            if job is None:
                return
            with (
                bound_contextvars(user_id=job.user_id, attempt=job.lease_token),
                keeper.hold(job.lease) as held,
            ):
                runner.run(job, held, claim_begun_ns=begun_ns)

    def claim(message: ProcessImage) -> ClaimedJob | None:
        try:
            with database.connection() as connection:
                job = store.claim(connection, job_id=message.job_id, worker_id=worker_id, lease=lease)
        except StoreUnavailableError as error:  # the row stays queued; the relay sends another message
            _log.warning("not claimed: the database is not available", code=error.code)
            return None
        if job is None:
            _log.debug("nothing to do")
        return job

    return handle
