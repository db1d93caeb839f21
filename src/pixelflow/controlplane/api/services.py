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
from pixelflow.adapters.local_files import LocalFiles
from pixelflow.adapters.objects import ObjectStorage
from pixelflow.adapters.queue import JobQueue
from pixelflow.adapters.ratelimit import Quota, TokenBuckets
from pixelflow.adapters.store.database import AsyncDatabase
from pixelflow.adapters.telemetry.api_metrics import ApiMetrics
from pixelflow.adapters.telemetry.dependencies import Dependencies, asked
from pixelflow.controlplane.idempotency import Idempotency
from pixelflow.controlplane.jobs import Jobs
from pixelflow.controlplane.keys import Keys
from pixelflow.controlplane.limits import Limits
from pixelflow.controlplane.seal import Seal
from pixelflow.controlplane.shown_jobs import ShownJobs
from pixelflow.controlplane.shown_usage import ShownUsage
from pixelflow.controlplane.tokens import Tokens, open_tokens
from pixelflow.controlplane.webhook_secrets import WebhookSecrets
from pixelflow.controlplane.webhooks import Webhooks
from pixelflow.settings import Settings

MAX_CONNECTIONS = 10
MAX_LOOKUPS = 5
"""Connections of their own for recognising keys: one statement each, which changes no connection's reach."""


@dataclass(frozen=True)
class Services:
    """The API's collaborators."""

    database: AsyncDatabase
    dependencies: Dependencies
    jobs: Jobs
    shown_jobs: ShownJobs
    shown_usage: ShownUsage
    webhooks: Webhooks
    webhook_secrets: WebhookSecrets
    keys: Keys
    tokens: Tokens | None
    idempotency: Idempotency
    limits: Limits | None
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
            jobs = Jobs(
                settings,
                database=database,
                queue=queue,
                objects=objects,
                local_files=LocalFiles(settings.local_roots),
                new_id=new_id,
                enqueued=metrics.enqueued,
            )
            dependencies = Dependencies(
                {
                    "postgres": lookups.ping,
                    "redis": functools.partial(asyncio.to_thread, queue.ping),
                    "object_storage": objects.ping,
                },
                judged=metrics.process.dependency_judged,
            )
            services = Services(
                database=database,
                dependencies=dependencies,
                jobs=jobs,
                shown_jobs=ShownJobs(settings, database=database, objects=objects),
                shown_usage=ShownUsage(database),
                webhooks=Webhooks(database),
                webhook_secrets=WebhookSecrets(database, Seal(secrets_key), new_id=new_id),
                keys=Keys(database, lookups=lookups),
                tokens=tokens,
                idempotency=Idempotency(database, secrets_key, new_id=new_id),
                limits=limits,
            )
            async with asked(dependencies):
                yield services
    finally:
        queue.close()


@asynccontextmanager
async def _open_limits(settings: Settings, metrics: ApiMetrics) -> AsyncIterator[Limits | None]:
    if not settings.rate_limit_enabled:
        yield None
        return
    quota = Quota(settings.rate_limit_capacity, settings.rate_limit_window_seconds)
    pass_uncounted = settings.rate_limit_without_redis == "pass"
    async with TokenBuckets(settings.redis_url.get_secret_value()) as buckets:
        yield Limits(buckets, quota, pass_uncounted=pass_uncounted, counts=metrics)


async def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


ServicesOf = Annotated[Services, Depends(_services)]
"""The services, for a route."""
