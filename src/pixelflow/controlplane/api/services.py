"""Builds the services that the routes use, once per process, and provides them to each request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request

from pixelflow.adapters.changes import ChangeAnnouncer, ChangeListener
from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.connection import TimeLimits
from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.storage.refreshed_keys import open_aws_keys
from pixelflow.adapters.telemetry.health import HealthChecks, run_health_checks
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.controlplane.api.body_size import MAX_BODY_BYTES
from pixelflow.controlplane.api.loop_time import LoopTime
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.assets.service import AssetService
from pixelflow.controlplane.batches.service import BatchService
from pixelflow.controlplane.capabilities.service import CapabilityQueries
from pixelflow.controlplane.credentials import Credentials
from pixelflow.controlplane.encryption import SecretCipher, response_cipher, webhook_cipher
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.keys.service import ApiKeys
from pixelflow.controlplane.limits.service import RateLimiter
from pixelflow.controlplane.limits.store import Quota, TokenBuckets
from pixelflow.controlplane.live.service import LiveService
from pixelflow.controlplane.live.watches import WatcherLimits, Watches
from pixelflow.controlplane.presets.service import PresetService
from pixelflow.controlplane.tokens.service import open_tokens
from pixelflow.controlplane.usage.service import UsageQueries
from pixelflow.controlplane.webhook_endpoints.service import WebhookEndpoints
from pixelflow.controlplane.webhooks.service import WebhookService
from pixelflow.settings import Settings, aws_variables

_WAIT_SECONDS = 5.0
"""Of a request until its user's share of the loop allows it."""


@dataclass(frozen=True)
class Services:
    """The services of the API."""

    database: AsyncDatabase
    health_checks: HealthChecks
    capabilities: CapabilityQueries
    jobs: JobService
    job_queries: JobQueries
    live: LiveService
    watches: Watches
    """What ``live`` waits by; the server stops it first."""
    assets: AssetService
    presets: PresetService
    batches: BatchService
    usage_queries: UsageQueries
    webhooks: WebhookService
    webhook_endpoints: WebhookEndpoints
    keys: ApiKeys
    credentials: Credentials
    response_cipher: SecretCipher
    """Encrypts stored responses of idempotent requests."""
    idempotency_lease: timedelta
    """How long a request holds its idempotency key."""
    request_seconds: float
    """The deadline of a request."""
    loop_time: LoopTime
    limits: RateLimiter | None
    """``None``: rate limits are disabled."""


@asynccontextmanager
async def open_services(settings: Settings, metrics: ApiMetrics) -> AsyncIterator[Services]:
    """Build the services, and close them at the end.

    Raises:
        SettingsError: the key that encrypts secrets is not set.
    """
    secrets_keys = settings.require_secrets_keys()
    with open_aws_keys(settings, aws_variables(), metrics.process.record_storage_credentials) as aws_keys:
        async with _open_services(settings, metrics, secrets_keys, ObjectStorage(settings, aws_keys)) as services:
            yield services


@asynccontextmanager
async def _open_services(
    settings: Settings, metrics: ApiMetrics, secrets_keys: tuple[bytes, ...], objects: ObjectStorage
) -> AsyncIterator[Services]:
    async with (
        _open_database(settings) as database,
        WakeUpSender(settings.redis_url.get_secret_value()) as wakeups,
        open_tokens(settings) as tokens,
        _open_watches(settings, metrics, database) as (watches, changes),
        _open_limits(settings, metrics) as limits,
    ):
        jobs = JobService(
            settings,
            database=database,
            wakeups=wakeups,
            objects=objects,
            local_files=LocalFiles(settings.local_roots, shared=settings.local_access == "shared"),
            on_enqueued=metrics.enqueued,
            on_change=changes.announce,
        )
        health_checks = HealthChecks(
            {"postgres": database.ping, "redis": wakeups.ping, "object_storage": objects.ping},
            on_status=metrics.process.set_dependency_up,
        )
        keys = ApiKeys(database)
        services = Services(
            database=database,
            health_checks=health_checks,
            capabilities=CapabilityQueries(settings, database, max_body_bytes=MAX_BODY_BYTES),
            jobs=jobs,
            job_queries=JobQueries(settings, database=database, objects=objects),
            live=LiveService(database, watches, stream_seconds=settings.api_stream_seconds),
            watches=watches,
            assets=AssetService(settings, database=database, objects=objects),
            presets=PresetService(settings, database=database),
            batches=BatchService(database, jobs),
            usage_queries=UsageQueries(database),
            webhooks=WebhookService(database, webhook_cipher(secrets_keys), new_id=new_id),
            webhook_endpoints=WebhookEndpoints(database, max_endpoints=settings.max_webhook_endpoints),
            keys=keys,
            credentials=Credentials(keys, tokens),
            response_cipher=response_cipher(secrets_keys),
            limits=limits,
            idempotency_lease=settings.idempotency_lease,
            request_seconds=settings.api_request_seconds,
            loop_time=LoopTime(
                wait_seconds=min(_WAIT_SECONDS, settings.api_request_seconds / 2), on_wait=metrics.waited
            ),
        )
        async with run_health_checks(health_checks):
            yield services


@asynccontextmanager
async def _open_watches(
    settings: Settings, metrics: ApiMetrics, database: AsyncDatabase
) -> AsyncIterator[tuple[Watches, ChangeAnnouncer]]:
    redis_url = settings.redis_url.get_secret_value()
    limits = WatcherLimits(settings.api_max_streams, settings.api_max_streams_per_user)
    watches = Watches(database, limits, on_count=metrics.streams_open)
    listener = ChangeListener(redis_url)
    tasks = [asyncio.create_task(watches.run()), asyncio.create_task(listener.listen(watches.on_users))]
    try:
        with ChangeAnnouncer(redis_url) as changes:
            yield watches, changes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _open_database(settings: Settings) -> AsyncDatabase:
    connections = settings.api_database_connections
    return AsyncDatabase(
        settings.database_url.get_secret_value(),
        max_connections=connections,
        application="pixelflow-api",
        share=connections // 2,
        limits=TimeLimits(settings.api_statement_seconds, settings.api_lock_seconds),
        prepare=settings.database_prepared_statements,
    )


@asynccontextmanager
async def _open_limits(settings: Settings, metrics: ApiMetrics) -> AsyncIterator[RateLimiter | None]:
    if not settings.rate_limit_enabled:
        yield None
        return
    quota = Quota(settings.rate_limit_capacity, settings.rate_limit_window_seconds)
    allow_uncounted = settings.rate_limit_without_redis == "pass"
    async with TokenBuckets(settings.redis_url.get_secret_value()) as buckets:
        yield RateLimiter(buckets, quota, allow_uncounted=allow_uncounted, metrics=metrics)


async def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


ServicesOf = Annotated[Services, Depends(_services)]
"""The services, as a parameter of a route."""
