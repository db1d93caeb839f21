"""What the routes work with: built once per process, handed to each request."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.adapters.queue import JobQueue
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.telemetry.health import HealthChecks, run_health_checks
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.encryption import SecretCipher
from pixelflow.controlplane.idempotency.service import Idempotency
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.keys.service import ApiKeys
from pixelflow.controlplane.limits.service import RateLimiter
from pixelflow.controlplane.limits.store import Quota, TokenBuckets
from pixelflow.controlplane.tokens.service import Tokens, open_tokens
from pixelflow.controlplane.usage.service import UsageQueries
from pixelflow.controlplane.webhooks.secrets import WebhookSecrets
from pixelflow.controlplane.webhooks.service import Webhooks
from pixelflow.settings import Settings

MAX_CONNECTIONS = 10
MAX_LOOKUPS = 5
"""Connections of their own for recognising keys: one statement each, which changes no connection's reach."""


@dataclass(frozen=True)
class Services:
    """The API's collaborators."""

    database: AsyncDatabase
    dependencies: HealthChecks
    jobs: JobService
    shown_jobs: JobQueries
    shown_usage: UsageQueries
    webhooks: Webhooks
    webhook_secrets: WebhookSecrets
    keys: ApiKeys
    tokens: Tokens | None
    idempotency: Idempotency
    limits: RateLimiter | None
    """``None``: nobody is limited."""


@asynccontextmanager
async def open_services(settings: Settings, metrics: ApiMetrics) -> AsyncIterator[Services]:
    """Build them, and close them at the end.

    Raises:
        SettingsError: the key that secrets are encrypted with is not set.
    """
    secrets_key = settings.require_secrets_key()
    queue = JobQueue(settings.redis_url.get_secret_value())
    objects = ObjectStorage(settings)
    url = settings.database_url.get_secret_value()
    try:
        async with (
            AsyncDatabase(url, max_connections=MAX_CONNECTIONS, application="pixelflow-api") as database,
            AsyncDatabase(url, max_connections=MAX_LOOKUPS, application="pixelflow-api") as lookups,
            open_tokens(settings) as tokens,
            _open_limits(settings, metrics) as limits,
        ):
            jobs = JobService(
                settings,
                database=database,
                queue=queue,
                objects=objects,
                local_files=LocalFiles(settings.local_roots),
                new_id=new_id,
                enqueued=metrics.enqueued,
            )
            dependencies = HealthChecks(
                {
                    "postgres": lookups.ping,
                    "redis": functools.partial(asyncio.to_thread, queue.ping),
                    "object_storage": objects.ping,
                },
                on_status=metrics.process.set_dependency_up,
            )
            services = Services(
                database=database,
                dependencies=dependencies,
                jobs=jobs,
                shown_jobs=JobQueries(settings, database=database, objects=objects),
                shown_usage=UsageQueries(database),
                webhooks=Webhooks(database),
                webhook_secrets=WebhookSecrets(database, SecretCipher(secrets_key), new_id=new_id),
                keys=ApiKeys(database, lookups=lookups),
                tokens=tokens,
                idempotency=Idempotency(database, secrets_key, new_id=new_id),
                limits=limits,
            )
            async with run_health_checks(dependencies):
                yield services
    finally:
        queue.close()


@asynccontextmanager
async def _open_limits(settings: Settings, metrics: ApiMetrics) -> AsyncIterator[RateLimiter | None]:
    if not settings.rate_limit_enabled:
        yield None
        return
    quota = Quota(settings.rate_limit_capacity, settings.rate_limit_window_seconds)
    pass_uncounted = settings.rate_limit_without_redis == "pass"
    async with TokenBuckets(settings.redis_url.get_secret_value()) as buckets:
        yield RateLimiter(buckets, quota, pass_uncounted=pass_uncounted, counts=metrics)


async def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


ServicesOf = Annotated[Services, Depends(_services)]
"""The services, for a route."""
