"""The controller process: composition root."""

from __future__ import annotations

import asyncio
import functools
import os
import signal

import structlog

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.local_files import LocalFiles
from pixelflow.adapters.objects import ObjectStorage
from pixelflow.adapters.outbound_http import RESOLVER_OPTIONS, OutboundHttp, OutboundRule
from pixelflow.adapters.queue import JobQueue
from pixelflow.adapters.store.database import EVERYONE, AsyncDatabase
from pixelflow.adapters.telemetry.controller_metrics import ControllerMetrics
from pixelflow.adapters.telemetry.dependencies import Dependencies, asked
from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.adapters.telemetry.metrics import new_registry
from pixelflow.adapters.telemetry.metrics_server import serving
from pixelflow.adapters.telemetry.tracing import Tracing, traced
from pixelflow.controlplane.controller import census
from pixelflow.controlplane.controller.census import Census
from pixelflow.controlplane.controller.courier import Courier, Sources
from pixelflow.controlplane.controller.expirer import Expirer
from pixelflow.controlplane.controller.loop import Once, repeat
from pixelflow.controlplane.controller.pruner import Pruner
from pixelflow.controlplane.controller.relay import Relay
from pixelflow.controlplane.controller.remover import Remover
from pixelflow.controlplane.controller.rescuer import Rescuer
from pixelflow.controlplane.controller.sweeper import Sweeper
from pixelflow.controlplane.retention import Periods
from pixelflow.controlplane.seal import Seal
from pixelflow.controlplane.shown_jobs import ShownJobs
from pixelflow.controlplane.webhook_secrets import WebhookSecrets
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
    with serving(registry, settings, role="controller"), traced(role="controller") as tracing:
        asyncio.run(_run(settings, metrics, tracing))


async def _run(settings: Settings, metrics: ControllerMetrics, tracing: Tracing) -> None:
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
    tracing: Tracing,
    stop: asyncio.Event,
) -> None:
    objects, local_files, periods = ObjectStorage(settings), LocalFiles(settings.local_roots), Periods.of(settings)
    secrets = WebhookSecrets(database, Seal(settings.require_secrets_key()), new_id=new_id)
    shown = ShownJobs(settings, database=database, objects=objects)
    sources = Sources(show=shown.get, secrets=secrets.valid, new_id=new_id)
    courier = Courier(database, outbound, sources, tried=metrics.tried, tracing=tracing)
    loops: list[tuple[Once, float]] = [
        (Relay(database, queue, enqueued=metrics.enqueued), PAUSE_SECONDS),
        (Rescuer(database, expired=metrics.lease_expired), PAUSE_SECONDS),
        (Pruner(database, objects, local_files, arrivals=settings.last_arrival), PAUSE_SECONDS),
        (Expirer(database, periods, removed=metrics.removed), RETENTION_PAUSE_SECONDS),
        (Remover(database, objects, local_files, removed=metrics.removed), RETENTION_PAUSE_SECONDS),
        (Sweeper(database, keep=periods.history, removed=metrics.removed), RETENTION_PAUSE_SECONDS),
        (courier, COURIER_PAUSE_SECONDS),
        (Census(database, metrics.counted, top_users=settings.metrics_top_users), census.PAUSE_SECONDS),
    ]
    dependencies = Dependencies(
        {
            "postgres": database.ping,
            "redis": functools.partial(asyncio.to_thread, queue.ping),
            "object_storage": objects.ping,
        },
        judged=metrics.process.dependency_judged,
    )
    _log.info("controller started")
    async with asked(dependencies):
        await asyncio.gather(*(repeat(work, pause=pause, stop=stop, metrics=metrics) for work, pause in loops))
    await courier.finish()
