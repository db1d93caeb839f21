"""The worker process: claims jobs, processes them, renews leases. Composition root of the data plane.

It must never decode an image itself; transform children do.
"""

from __future__ import annotations

import os
import secrets
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

from pixelflow.adapters.changes import ChangeAnnouncer
from pixelflow.adapters.outbound_http import RESOLVER_OPTIONS, Downloads, OutboundHttp, OutboundRule
from pixelflow.adapters.postgres.connection import TimeLimits
from pixelflow.adapters.postgres.database import AsyncDatabase, Database
from pixelflow.adapters.readiness import notify_ready
from pixelflow.adapters.storage.buckets import NamedBuckets
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.storage.refreshed_keys import open_aws_keys
from pixelflow.adapters.storage.signatures import KeySource
from pixelflow.adapters.telemetry.health import HealthChecks, run_health_checks_in_thread
from pixelflow.adapters.telemetry.logs import configure_logs
from pixelflow.adapters.telemetry.metrics import ReadinessProbe, new_registry, serve_metrics
from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.adapters.termination import Termination
from pixelflow.adapters.wakeup import WakeUpSender, WakeUpWaiter
from pixelflow.contracts.capabilities import URL_SOURCES, worker_capabilities
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.dataplane.child import confinement
from pixelflow.dataplane.worker.attempt import AttemptRunner, JobLimits
from pixelflow.dataplane.worker.bucket_places import BucketPlaces
from pixelflow.dataplane.worker.children import ConfinementMissingError, Isolation
from pixelflow.dataplane.worker.claims import ClaimLimits, ClaimLoop, Places, RunJob, Worker
from pixelflow.dataplane.worker.health import Reason, WorkerHealth
from pixelflow.dataplane.worker.leases import LeaseKeeper, ShutdownRequestedError
from pixelflow.dataplane.worker.metrics import WorkerMetrics
from pixelflow.dataplane.worker.resources import Capacity, capacity_of
from pixelflow.dataplane.worker.sandbox import Sandbox
from pixelflow.dataplane.worker.scratch import scratch_folder
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.dataplane.worker.template import ChildLimits
from pixelflow.dataplane.worker.transfers import Transfers
from pixelflow.dataplane.worker.url_sources import FetchPlaces, UrlSources
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.settings import PREFIX, Settings, SettingsError, aws_variables, variables_of_buckets

MAX_CONNECTIONS = 2
"""Statements take a few milliseconds and jobs far longer: two connections serve all threads, and a renewal of leases
does not wait behind a claim. Installations have many workers, and Postgres has few connections."""
_APPLICATION = "pixelflow-worker"
_RELEASE_SECONDS = 2.0
_POLL_SECONDS = 0.05

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Process jobs until SIGTERM or SIGINT, then finish or release the jobs in progress. A second signal ends the wait.

    Raises:
        SettingsError: confinement is required and not available, the metrics port is in use, the scratch folder can't
            be used, or the trace exporter's settings are not valid.
    """
    configure_logs(settings, role="worker")
    confinement.disable_dumpable()
    termination = Termination()
    registry, readiness = new_registry(), ReadinessProbe()
    with (
        serve_metrics(registry, settings, role="worker", readiness=readiness),
        open_tracer(role="worker") as tracer,
        ExitStack() as stack,
    ):
        capacity = capacity_of(settings)
        worker = _build(settings, capacity, WorkerMetrics(registry), tracer, stack)
        readiness.reasons = lambda: worker.health.reasons
        worker.start()
        _log.info("worker started", **vars(capacity))
        notify_ready()
        termination.wait()
        readiness.reasons = lambda: ["stopping"]
        _log.info("worker stopping", grace_seconds=settings.worker_grace_seconds)
        worker.stop(termination, grace_seconds=settings.worker_grace_seconds)
    _log.info("worker stopped")


@dataclass(frozen=True)
class _RunningWorker:
    """The running parts of a worker."""

    keeper: LeaseKeeper
    claims: ClaimLoop
    places: Places
    runner: AttemptRunner
    health: WorkerHealth

    def start(self) -> None:
        """Start to claim jobs."""
        self.places.start(on_free=self.claims.on_free)
        self.claims.start()

    def stop(self, termination: Termination, *, grace_seconds: float) -> None:
        """Claim no more jobs, wait for those in progress until the grace period or another signal, release the rest."""
        self.runner.drain()
        self.health.close()
        self.claims.stop()
        deadline = time.monotonic() + grace_seconds
        in_time = _ends(self.claims.join, termination, deadline)
        self.places.close()  # not earlier: a claim in progress still submits its jobs
        if not in_time or not _ends(self.places.join, termination, deadline):
            self.keeper.interrupt_all(ShutdownRequestedError())
            deadline = time.monotonic() + _RELEASE_SECONDS
            self.claims.join(_RELEASE_SECONDS)  # releases the jobs of a claim that returns only now
            self.places.join(max(0.0, deadline - time.monotonic()))
        self.claims.unregister()


def _worker_id() -> str:
    """Return a name of this process alone: restarted in a container, a process keeps host name and process id."""
    return f"{socket.gethostname()}:{secrets.token_hex(4)}:{os.getpid()}"


def _ends(join: Callable[[float], bool], termination: Termination, deadline: float) -> bool:
    """Wait until ``join`` returns true; returns false at the deadline or at another signal."""
    while not join(0):
        if time.monotonic() >= deadline or termination.wait(_POLL_SECONDS):
            return False
    return True


def _build(
    settings: Settings, capacity: Capacity, metrics: WorkerMetrics, tracer: Tracer, stack: ExitStack
) -> _RunningWorker:
    scratch = stack.enter_context(scratch_folder(settings.worker_temp_dir))
    health = WorkerHealth(
        scratch=scratch,
        min_free_bytes=_min_free_bytes(settings),
        on_change=metrics.set_degraded,
    )
    sandbox = _start_sandbox(settings, capacity, scratch, metrics, stack)
    servers = _Servers.open(settings, metrics, stack)
    health.add_checks({Reason.OBJECT_STORAGE: servers.objects.check, Reason.DATABASE: servers.database.ping})
    health.start()
    stack.callback(health.close)
    keeper = LeaseKeeper(servers.database, lease=timedelta(seconds=settings.lease_seconds))
    keeper.start()
    stack.callback(keeper.close)
    fetch_places = FetchPlaces(capacity.places)
    runner = AttemptRunner(
        database=servers.database,
        sandbox=sandbox,
        transfers=_open_transfers(settings, capacity, servers, health=health, stack=stack, fetch_places=fetch_places),
        health=health,
        limits=_job_limits(settings),
        scratch=scratch,
        metrics=metrics,
        tracer=tracer,
        on_end=servers.changes.announce,
    )
    places = Places(capacity.places, _job_runner(keeper, runner))
    worker = Worker(_worker_id(), _capabilities(settings, sandbox), capacity.slots)
    claims = _claim_loop(settings, servers, worker, places=places, fetch_places=fetch_places, health=health)
    stack.enter_context(run_health_checks_in_thread(partial(_health_checks, settings, servers.objects, metrics)))
    return _RunningWorker(keeper, claims, places, runner, health)


@dataclass(frozen=True)
class _Servers:
    """The connections to the servers that a worker uses."""

    database: Database
    objects: ObjectStorage
    buckets: NamedBuckets
    changes: ChangeAnnouncer
    wakeups: WakeUpWaiter

    @classmethod
    def open(cls, settings: Settings, metrics: WorkerMetrics, stack: ExitStack) -> _Servers:
        """Open them; ``stack`` closes them."""
        record = metrics.process.record_storage_credentials
        aws_keys = stack.enter_context(open_aws_keys(settings, aws_variables(), record))
        objects = ObjectStorage(settings, aws_keys)
        stack.callback(objects.close)
        database = Database(
            settings.database_url.get_secret_value(),
            max_connections=MAX_CONNECTIONS,
            application=_APPLICATION,
            limits=TimeLimits(settings.worker_statement_seconds, settings.worker_lock_seconds),
            prepare=settings.database_prepared_statements,
        )
        redis_url = settings.redis_url.get_secret_value()
        return cls(
            stack.enter_context(database),
            objects,
            _open_buckets(settings, aws_keys, stack),
            stack.enter_context(ChangeAnnouncer(redis_url)),
            stack.enter_context(WakeUpWaiter(redis_url)),
        )


def _claim_loop(
    settings: Settings,
    servers: _Servers,
    worker: Worker,
    *,
    places: Places,
    fetch_places: FetchPlaces,
    health: WorkerHealth,
) -> ClaimLoop:
    limits = ClaimLimits(
        partial(_capacity, places, health),
        room_of={URL_SOURCES: lambda: fetch_places.room},
        resting=lambda: fetch_places.resting,
        may_claim=health.may_claim,
        degraded=lambda: ", ".join(health.reasons) or None,
    )
    return ClaimLoop(
        servers.database,
        worker,
        lease=timedelta(seconds=settings.lease_seconds),
        limits=limits,
        submit=places.submit,
        wakeups=servers.wakeups,
        on_claim=servers.changes.announce,
        on_database=partial(_record_database, health),
    )


def _capabilities(settings: Settings, sandbox: Sandbox) -> tuple[str, ...]:
    children = sandbox.children
    extras = [*children.extras, *([URL_SOURCES] if settings.url_sources else [])]
    return worker_capabilities(extras, libvips=children.libvips)


def _open_buckets(settings: Settings, aws_keys: KeySource, stack: ExitStack) -> NamedBuckets:
    variables = variables_of_buckets(settings.named_buckets.values())
    buckets = NamedBuckets(settings.named_buckets, variables, aws_keys)
    stack.callback(buckets.close)
    return buckets


def _open_transfers(
    settings: Settings,
    capacity: Capacity,
    servers: _Servers,
    *,
    health: WorkerHealth,
    stack: ExitStack,
    fetch_places: FetchPlaces,
) -> Transfers:
    transfers = Transfers(
        {
            SourceType.S3_PRESIGNED: servers.objects,
            SourceType.JOB: servers.objects,
            SourceType.URL: servers.objects,
            SourceType.BUCKET: servers.objects,
            SourceType.LOCAL_FILE: LocalFiles(settings.local_roots),
        },
        assets=servers.objects,
        buckets=servers.buckets,
        bucket_places=BucketPlaces(capacity.places),
        urls=_open_url_sources(settings, fetch_places, stack),
        health=health,
        max_source_bytes=settings.max_source_bytes,
        parallel_uploads=capacity.places,
    )
    stack.callback(transfers.close)
    return transfers


def _open_url_sources(settings: Settings, places: FetchPlaces, stack: ExitStack) -> UrlSources | None:
    if not settings.url_sources:
        return None
    # Before the first DNS lookup, which is when the C library reads the variable. A value set by the operator wins.
    os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)
    http = OutboundHttp(OutboundRule.of_sources(settings))
    stack.callback(http.close)
    return UrlSources(Downloads(http), places)


def _capacity(places: Places, health: WorkerHealth) -> int:
    """Free places, or fewer while a dependency that failed is tried with single jobs."""
    room = health.room(places.in_hand())
    return places.capacity() if room is None else min(places.capacity(), room)


def _record_database(health: WorkerHealth, available: bool) -> None:  # a callback
    if available:
        health.record_success(Reason.DATABASE)
    else:
        health.record_failure(Reason.DATABASE)


def _min_free_bytes(settings: Settings) -> int:
    configured = settings.worker_min_free_bytes
    return settings.max_source_bytes if configured is None else configured


def _start_sandbox(
    settings: Settings, capacity: Capacity, scratch: Path, metrics: WorkerMetrics, stack: ExitStack
) -> Sandbox:
    limits = ChildLimits(
        memory_bytes=capacity.child_memory_bytes,
        seconds=settings.job_timeout_seconds,
        file_bytes=settings.max_output_bytes,
        user=settings.worker_child_uid,
    )
    sandbox = Sandbox(
        slots=capacity.slots,
        limits=limits,
        scratch=scratch,
        isolation=Isolation(settings.worker_isolation),
        memory_bytes=settings.worker_memory_bytes,
        child_started=metrics.count_child_start,
        on_confinement=metrics.set_confinement,
    )
    metrics.observe_slots(capacity.slots, lambda: sandbox.active)
    stack.callback(sandbox.close)
    try:
        sandbox.start(require_confinement=settings.worker_require_confinement)
    except ConfinementMissingError as error:
        raise SettingsError(f"{PREFIX}WORKER_REQUIRE_CONFINEMENT: {error}") from error
    return sandbox


def _job_limits(settings: Settings) -> JobLimits:
    return JobLimits(
        transform=TransformLimits(
            max_source_pixels=settings.max_source_pixels,
            max_output_pixels=settings.max_output_pixels,
            max_output_bytes=settings.max_output_bytes,
            max_job_output_pixels=settings.max_job_output_pixels,
            max_frames=settings.max_frames,
            max_jpeg_scans=settings.max_jpeg_scans,
        ),
        max_wait_seconds=settings.job_max_wait_seconds,
    )


@asynccontextmanager
async def _health_checks(
    settings: Settings, objects: ObjectStorage, metrics: WorkerMetrics
) -> AsyncIterator[HealthChecks]:
    """Check dependencies over separate connections: a thread that waits for a hanging database could not be stopped."""
    url = settings.database_url.get_secret_value()

    async def check_postgres() -> None:  # opens a connection each time: a worker should not hold one for this
        async with AsyncDatabase(url, max_connections=1, application=_APPLICATION) as database:
            await database.ping()

    async with WakeUpSender(settings.redis_url.get_secret_value()) as wakeups:
        yield HealthChecks(
            {"postgres": check_postgres, "redis": wakeups.ping, "object_storage": objects.ping},
            on_status=metrics.process.set_dependency_up,
        )


def _job_runner(keeper: LeaseKeeper, runner: AttemptRunner) -> RunJob:
    def run(job: ClaimedJob, claim_start_ns: int) -> None:
        with (
            bound_contextvars(job_id=str(job.job_id), user_id=job.user_id, attempt=job.lease_token),
            keeper.track(job.lease) as active_lease,
        ):
            runner.run(job, active_lease, claim_start_ns=claim_start_ns)

    return run
