"""The worker process: takes messages, claims jobs, keeps leases. Composition root of the data plane.

Never decodes a picture itself: that is for its children.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from queue import SimpleQueue

import structlog

from pixelflow.adapters.local_files import LocalFiles
from pixelflow.adapters.objects import ObjectStorage
from pixelflow.adapters.queue import Consumer
from pixelflow.adapters.store import attempts
from pixelflow.adapters.store.database import Database
from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.contracts.job import SourceType
from pixelflow.contracts.messages import ProcessImage
from pixelflow.contracts.problems import StoreUnavailableError
from pixelflow.dataplane import confine
from pixelflow.dataplane.attempt import Attempts, Bounds
from pixelflow.dataplane.child_process import ChildLimits
from pixelflow.dataplane.leases import GoodbyeError, LeaseKeeper
from pixelflow.dataplane.protocol import Limits
from pixelflow.dataplane.sandbox import Sandbox
from pixelflow.dataplane.scratch import scratch_folder
from pixelflow.settings import Settings

_HAND_BACK_SECONDS = 2.0

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then finish or hand back what is in hand."""
    configure_logs(settings, role="worker")
    confine.hide_from_children()
    stop: SimpleQueue[int] = SimpleQueue()  # an Event would deadlock on a signal within a signal
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_, lambda number, _: stop.put(number))
    with ExitStack() as stack:
        keeper, handle = _assemble(settings, stack)
        consumer = Consumer(settings.redis_url.get_secret_value(), threads=settings.worker_concurrency, handle=handle)
        stack.callback(consumer.close)
        consumer.start()
        _log.info("worker started", threads=settings.worker_concurrency, slots=settings.worker_max_active_jobs)
        stop.get()
        _log.info("worker stopping", grace_seconds=settings.worker_grace_seconds)
        consumer.leave()
        if not consumer.join(settings.worker_grace_seconds):
            keeper.interrupt_all(GoodbyeError())
            consumer.join(_HAND_BACK_SECONDS)
    _log.info("worker stopped")


def _assemble(settings: Settings, stack: ExitStack) -> tuple[LeaseKeeper, Callable[[ProcessImage], None]]:
    scratch = stack.enter_context(scratch_folder(settings.worker_temp_dir))
    limits = ChildLimits(memory_bytes=settings.worker_child_memory_bytes, seconds=settings.job_timeout_seconds)
    sandbox = Sandbox(slots=settings.worker_max_active_jobs, limits=limits, scratch=scratch)
    stack.callback(sandbox.close)
    sandbox.start()
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
    runner = Attempts(
        database=database,
        sandbox=sandbox,
        storages={
            SourceType.S3_PRESIGNED: ObjectStorage(settings),
            SourceType.LOCAL_FILE: LocalFiles(settings.local_roots),
        },
        bounds=Bounds(
            max_source_bytes=settings.max_source_bytes,
            transform=Limits(
                max_source_pixels=settings.max_source_pixels,
                max_output_pixels=settings.max_output_pixels,
                max_output_bytes=settings.max_output_bytes,
            ),
        ),
        scratch=scratch,
    )
    return keeper, _handler(database, keeper, runner, lease)


def _handler(
    database: Database, keeper: LeaseKeeper, runner: Attempts, lease: timedelta
) -> Callable[[ProcessImage], None]:
    worker_id = f"{socket.gethostname()}:{os.getpid()}"

    def handle(message: ProcessImage) -> None:
        try:
            with database.connection() as connection:
                job = attempts.claim(connection, job_id=message.job_id, worker_id=worker_id, lease=lease)
        except StoreUnavailableError:  # the row stays queued; the relay sends another message
            _log.warning("not claimed: the database is not available", job_id=str(message.job_id))
            return
        if job is None:
            _log.debug("nothing to do", job_id=str(message.job_id))
            return
        with keeper.hold(job.lease) as held:
            runner.run(job, held)

    return handle
