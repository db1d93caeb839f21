"""The controller process: composition root."""

from __future__ import annotations

import asyncio
import functools
import os
import signal

import structlog
from opentelemetry.trace import Tracer

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.outbound_http import RESOLVER_OPTIONS, OutboundHttp, OutboundRule
from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase
from pixelflow.adapters.queue import JobQueue
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.telemetry.health import HealthChecks, run_health_checks
from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.adapters.telemetry.metrics import new_registry, serve_metrics
from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.controlplane.controller.loop import LoopBody, run_loop
from pixelflow.controlplane.controller.metrics import ControllerMetrics
from pixelflow.controlplane.encryption import SecretCipher
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.controlplane.jobs.reaper import LeaseReaper
from pixelflow.controlplane.queue.relay import Relay
from pixelflow.controlplane.retention.expirer import Expirer
from pixelflow.controlplane.retention.periods import RetentionPeriods
from pixelflow.controlplane.retention.pruner import Pruner
from pixelflow.controlplane.retention.remover import Remover
from pixelflow.controlplane.retention.sweeper import Sweeper
from pixelflow.controlplane.stats import collector
from pixelflow.controlplane.stats.collector import StatsCollector
from pixelflow.controlplane.webhooks.dispatcher import DispatcherInputs, WebhookDispatcher
from pixelflow.controlplane.webhooks.secrets import WebhookSecrets
from pixelflow.settings import Settings

PAUSE_SECONDS = 1.0
COURIER_PAUSE_SECONDS = 0.25
"""Shorter: it is what a receiver waits for after the end of a job."""
RETENTION_PAUSE_SECONDS = 60.0
"""Nobody waits for what is removed after days."""
MAX_CONNECTIONS = 8

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Run the loops until SIGTERM or SIGINT.

    Raises:
        SettingsError: what only the control plane needs is not set, the port of the metrics is taken, or traces are to
            go where none can be sent.
    """
    # Before the first look-up, which is when a process's resolver reads them. What the operator has set stays.
    os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)
    settings.require_secrets_key()
    configure_logs(settings, role="controller")
    registry = new_registry()
    metrics = ControllerMetrics(registry)
    with serve_metrics(registry, settings, role="controller"), open_tracer(role="controller") as tracing:
        asyncio.run(_run(settings, metrics, tracing))


async def _run(settings: Settings, metrics: ControllerMetrics, tracing: Tracer) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop.set)
    database = AsyncDatabase(
        settings.database_url.get_secret_value(),
        max_connections=MAX_CONNECTIONS,
        application="pixelflow-controller",
        reach=EVERYONE,
    )
    queue = JobQueue(settings.redis_url.get_secret_value())
    outbound = OutboundHttp(OutboundRule.of_webhooks(settings))
    try:
        async with database:
            await _repeat_all(settings, database, queue, outbound, metrics=metrics, tracing=tracing, stop=stop)
    finally:
        outbound.close()
        queue.close()
    _log.info("controller stopped")


async def _repeat_all(
    settings: Settings,
    database: AsyncDatabase,
    queue: JobQueue,
    outbound: OutboundHttp,
    *,
    metrics: ControllerMetrics,
    tracing: Tracer,
    stop: asyncio.Event,
) -> None:
    objects, local_files, periods = (
        ObjectStorage(settings),
        LocalFiles(settings.local_roots),
        RetentionPeriods.of(settings),
    )
    secrets = WebhookSecrets(database, SecretCipher(settings.require_secrets_key()), new_id=new_id)
    shown = JobQueries(settings, database=database, objects=objects)
    sources = DispatcherInputs(show=shown.get, secrets=secrets.valid, new_id=new_id)
    courier = WebhookDispatcher(database, outbound, sources, tried=metrics.tried, tracing=tracing)
    loops: list[tuple[LoopBody, float]] = [
        (Relay(database, queue, enqueued=metrics.enqueued), PAUSE_SECONDS),
        (LeaseReaper(database, expired=metrics.lease_expired), PAUSE_SECONDS),
        (Pruner(database, objects, local_files, arrivals=settings.upload_grace), PAUSE_SECONDS),
        (Expirer(database, periods, removed=metrics.removed), RETENTION_PAUSE_SECONDS),
        (Remover(database, objects, local_files, removed=metrics.removed), RETENTION_PAUSE_SECONDS),
        (Sweeper(database, keep=periods.history, removed=metrics.removed), RETENTION_PAUSE_SECONDS),
        (courier, COURIER_PAUSE_SECONDS),
        (StatsCollector(database, metrics.counted, top_users=settings.metrics_top_users), collector.PAUSE_SECONDS),
    ]
    dependencies = HealthChecks(
        {
            "postgres": database.ping,
            "redis": functools.partial(asyncio.to_thread, queue.ping),
            "object_storage": objects.ping,
        },
        on_status=metrics.process.set_dependency_up,
    )
    _log.info("controller started")
    async with run_health_checks(dependencies):
        await asyncio.gather(*(run_loop(work, pause=pause, stop=stop, metrics=metrics) for work, pause in loops))
    await courier.finish()
