"""Composition root of the controller process."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog
from opentelemetry.trace import Tracer

from pixelflow.adapters.changes import ChangeAnnouncer
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
    redis_url = settings.redis_url.get_secret_value()
    try:
        with (
            open_aws_keys(settings, aws_variables(), metrics.process.record_storage_credentials) as aws_keys,
            ChangeAnnouncer(redis_url) as changes,
        ):
            objects = ObjectStorage(settings, aws_keys)
            async with database, WakeUpSender(redis_url) as wakeups:
                servers = _Servers(database, objects, outbound, wakeups, changes)
                await _run_loops(_Loops(settings, servers, metrics, tracer), stop, readiness)
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


@dataclass(frozen=True)
class _Servers:
    """The connections to the servers that the loops use."""

    database: AsyncDatabase
    objects: ObjectStorage
    outbound: OutboundHttp
    wakeups: WakeUpSender
    changes: ChangeAnnouncer


class _Loops:
    """Builds the bodies of the loops."""

    def __init__(self, settings: Settings, servers: _Servers, metrics: ControllerMetrics, tracer: Tracer) -> None:
        self._settings = settings
        self.servers = servers
        self.metrics = metrics
        self._local_files = LocalFiles(settings.local_roots)
        self.dispatcher = self._dispatcher(tracer)
        self.bodies: list[tuple[LoopBody, float]] = [
            (self._lease_reaper(), PAUSE_SECONDS),
            (self._file_collector(), PAUSE_SECONDS),
            (self._asset_collector(), PAUSE_SECONDS),
            (self._row_collector(), RETENTION_PAUSE_SECONDS),
            (self.dispatcher, WEBHOOK_PAUSE_SECONDS),
            (self._auto_starter(), AUTO_START_PAUSE_SECONDS),
            (BatchFinisher(self.servers.database), BATCH_PAUSE_SECONDS),
            (self._stats_collector(), collector.PAUSE_SECONDS),
        ]
        """Each with the seconds that it pauses when there is nothing to do."""

    def _dispatcher(self, tracer: Tracer) -> WebhookDispatcher:
        settings, database = self._settings, self.servers.database
        webhooks = WebhookService(database, webhook_cipher(settings.require_secrets_keys()), new_id=new_id)
        jobs = JobQueries(settings, database=database, objects=self.servers.objects)
        inputs = DispatcherInputs(
            get_job=jobs.get,
            get_batch=BatchQueries(database).get,
            signing_secrets=webhooks.signing_secrets,
            new_id=new_id,
        )
        return WebhookDispatcher(
            database, self.servers.outbound, inputs, on_attempt=self.metrics.record_delivery, tracer=tracer
        )

    def _lease_reaper(self) -> LeaseReaper:
        return LeaseReaper(
            self.servers.database,
            lease=timedelta(seconds=self._settings.lease_seconds),
            on_reaped=self.metrics.record_expired_lease,
            on_change=self.servers.changes.announce,
        )

    def _auto_starter(self) -> AutoStarter:
        servers, on_change = self.servers, self.servers.changes.announce
        starts = JobStarts(
            self._settings,
            database=servers.database,
            wakeups=servers.wakeups,
            objects=servers.objects,
            local_files=self._local_files,
            on_change=on_change,
        )
        return AutoStarter(
            servers.database,
            servers.objects,
            starts,
            upload_grace=self._settings.upload_grace,
            on_check=self.metrics.record_source_check,
            on_change=on_change,
        )

    def _file_collector(self) -> FileCollector:
        return FileCollector(
            self.servers.database,
            self.servers.objects,
            self._local_files,
            upload_grace=self._settings.upload_grace,
            on_removed=self.metrics.record_removed,
        )

    def _asset_collector(self) -> AssetCollector:
        return AssetCollector(
            self.servers.database,
            self.servers.objects,
            pending_age=RetentionPeriods.of(self._settings).upload,
            upload_grace=self._settings.upload_grace,
            on_removed=partial(self.metrics.record_removed, RemovedKind.ASSET),
        )

    def _row_collector(self) -> RowCollector:
        return RowCollector(
            self.servers.database,
            RetentionPeriods.of(self._settings),
            on_removed=self.metrics.record_removed,
            on_change=self.servers.changes.announce,
        )

    def _stats_collector(self) -> StatsCollector:
        return StatsCollector(
            self.servers.database,
            self.metrics.database,
            top_users=self._settings.metrics_top_users,
            holder=new_id(),
        )


async def _run_loops(loops: _Loops, stop: asyncio.Event, readiness: ReadinessProbe) -> None:
    dependencies = HealthChecks(
        {"postgres": loops.servers.database.ping, "object_storage": loops.servers.objects.ping},
        on_status=loops.metrics.process.set_dependency_up,
    )
    readiness.reasons = dependencies.unavailable
    _log.info("controller started")
    notify_ready()
    async with run_health_checks(dependencies):
        await asyncio.gather(
            *(run_loop(body, pause=pause, stop=stop, metrics=loops.metrics) for body, pause in loops.bodies)
        )
    await loops.dispatcher.finish()
