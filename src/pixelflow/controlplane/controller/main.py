"""Composition root of the controller process."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from functools import partial

import structlog
from opentelemetry.trace import Tracer

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.outbound_http import RESOLVER_OPTIONS, OutboundHttp, OutboundRule
from pixelflow.adapters.postgres.connection import TimeLimits
from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase
from pixelflow.adapters.readiness import notify_ready
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.storage.refreshed_keys import open_aws_keys
from pixelflow.adapters.telemetry.health import HealthChecks, run_health_checks
from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.adapters.telemetry.metrics import ReadinessProbe, new_registry, serve_metrics
from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.adapters.termination import SIGNALS
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.controlplane.assets.collector import AssetCollector
from pixelflow.controlplane.batches.finisher import BatchFinisher
from pixelflow.controlplane.batches.queries import BatchQueries
from pixelflow.controlplane.controller.loop import LoopBody, run_loop
from pixelflow.controlplane.controller.metrics import ControllerMetrics
from pixelflow.controlplane.encryption import webhook_cipher
from pixelflow.controlplane.jobs.auto_start import AutoStarter
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.controlplane.jobs.reaper import LeaseReaper
from pixelflow.controlplane.jobs.starts import JobStarts
from pixelflow.controlplane.retention.gc import FileCollector, RemovedKind, RowCollector
from pixelflow.controlplane.retention.periods import RetentionPeriods
from pixelflow.controlplane.stats import collector
from pixelflow.controlplane.stats.collector import StatsCollector
from pixelflow.controlplane.webhooks.dispatcher import DispatcherInputs, WebhookDispatcher
from pixelflow.controlplane.webhooks.service import WebhookService
from pixelflow.settings import Settings, aws_variables

PAUSE_SECONDS = 1.0
WEBHOOK_PAUSE_SECONDS = 0.25
"""Shorter: it adds to the delay between the end of a job and its webhook."""
AUTO_START_PAUSE_SECONDS = 0.25
"""Shorter, too: it adds to the delay between the end of an upload and the start of its job."""
BATCH_PAUSE_SECONDS = 0.5
"""Shorter, too: it adds to the delay between the end of a batch and its webhook."""
RETENTION_PAUSE_SECONDS = 60.0
"""Longer: retention periods are days."""
MAX_CONNECTIONS = 4
"""Loops take turns: no statement of theirs is urgent to the second, and each is bounded."""
_WAIT_SECONDS = 30.0
"""How long a loop waits for a connection."""

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Run the loops until SIGTERM or SIGINT.

    Raises:
        SettingsError: the secrets key is not set, the metrics port is in use, or the trace exporter is not available.
    """
    # Before the first DNS lookup, which is when the C library reads the variable. A value set by the operator wins.
    os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)
    settings.require_secrets_keys()
    configure_logs(settings, role="controller")
    registry, readiness = new_registry(), ReadinessProbe()
    metrics = ControllerMetrics(registry)
    with (
        serve_metrics(registry, settings, role="controller", readiness=readiness),
        open_tracer(role="controller") as tracer,
    ):
        asyncio.run(_run(settings, metrics, tracer, readiness))


async def _run(settings: Settings, metrics: ControllerMetrics, tracer: Tracer, readiness: ReadinessProbe) -> None:
    stop = asyncio.Event()
    _stop_on_signals(stop, readiness)
    database = AsyncDatabase(
        settings.database_url.get_secret_value(),
        max_connections=MAX_CONNECTIONS,
        application="pixelflow-controller",
        scope=EVERYONE,
        limits=TimeLimits(settings.controller_statement_seconds, settings.controller_lock_seconds),
        wait_seconds=_WAIT_SECONDS,
        prepare=settings.database_prepared_statements,
    )
    outbound = OutboundHttp(OutboundRule.of_webhooks(settings))
    try:
        with open_aws_keys(settings, aws_variables(), metrics.process.record_storage_credentials) as aws_keys:
            objects = ObjectStorage(settings, aws_keys)
            async with database, WakeUpSender(settings.redis_url.get_secret_value()) as wakeups:
                await _run_loops(
                    settings,
                    database,
                    objects,
                    outbound,
                    wakeups,
                    metrics=metrics,
                    tracer=tracer,
                    stop=stop,
                    readiness=readiness,
                )
    except asyncio.CancelledError:
        _log.info("controller stopping at once: second signal")
    finally:
        outbound.close()
    _log.info("controller stopped")


def _stop_on_signals(stop: asyncio.Event, readiness: ReadinessProbe) -> None:
    """Stop after the current ticks at the first signal, and at once at the second."""
    loop, running = asyncio.get_running_loop(), asyncio.current_task()

    def handle() -> None:
        readiness.reasons = lambda: ["stopping"]
        if stop.is_set() and running is not None:
            running.cancel()
        stop.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, handle)


async def _run_loops(
    settings: Settings,
    database: AsyncDatabase,
    objects: ObjectStorage,
    outbound: OutboundHttp,
    wakeups: WakeUpSender,
    *,
    metrics: ControllerMetrics,
    tracer: Tracer,
    stop: asyncio.Event,
    readiness: ReadinessProbe,
) -> None:
    periods = RetentionPeriods.of(settings)
    webhooks = WebhookService(database, webhook_cipher(settings.require_secrets_keys()), new_id=new_id)
    jobs = JobQueries(settings, database=database, objects=objects)
    inputs = DispatcherInputs(
        get_job=jobs.get,
        get_batch=BatchQueries(database).get,
        signing_secrets=webhooks.signing_secrets,
        new_id=new_id,
    )
    dispatcher = WebhookDispatcher(database, outbound, inputs, on_attempt=metrics.record_delivery, tracer=tracer)
    local_files = LocalFiles(settings.local_roots)
    starts = JobStarts(settings, database=database, wakeups=wakeups, objects=objects, local_files=local_files)
    auto_starter = AutoStarter(
        database, objects, starts, upload_grace=settings.upload_grace, on_check=metrics.record_source_check
    )
    files = FileCollector(
        database,
        objects,
        local_files,
        upload_grace=settings.upload_grace,
        on_removed=metrics.record_removed,
    )
    assets = AssetCollector(
        database,
        objects,
        pending_age=periods.upload,
        upload_grace=settings.upload_grace,
        on_removed=partial(metrics.record_removed, RemovedKind.ASSET),
    )
    lease = timedelta(seconds=settings.lease_seconds)
    stats = StatsCollector(database, metrics.database, top_users=settings.metrics_top_users, holder=new_id())
    loops: list[tuple[LoopBody, float]] = [
        (LeaseReaper(database, lease=lease, on_reaped=metrics.record_expired_lease), PAUSE_SECONDS),
        (files, PAUSE_SECONDS),
        (assets, PAUSE_SECONDS),
        (RowCollector(database, periods, on_removed=metrics.record_removed), RETENTION_PAUSE_SECONDS),
        (dispatcher, WEBHOOK_PAUSE_SECONDS),
        (auto_starter, AUTO_START_PAUSE_SECONDS),
        (BatchFinisher(database), BATCH_PAUSE_SECONDS),
        (stats, collector.PAUSE_SECONDS),
    ]
    dependencies = HealthChecks(
        {
            "postgres": database.ping,
            "object_storage": objects.ping,
        },
        on_status=metrics.process.set_dependency_up,
    )
    readiness.reasons = dependencies.unavailable
    _log.info("controller started")
    notify_ready()
    async with run_health_checks(dependencies):
        await asyncio.gather(*(run_loop(body, pause=pause, stop=stop, metrics=metrics) for body, pause in loops))
    await dispatcher.finish()
