"""Fixtures for webhooks: a database that no other dispatcher uses, and dispatchers with a manual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID, uuid4

import pytest
from opentelemetry.trace import Tracer
from tests.support.databases import new_database
from tests.support.waiting import DEADLINE_SECONDS
from tests.support.webhook_receiver import Receiver

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.outbound_http import OutboundHttp, OutboundRule, Resolve
from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase
from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.controlplane.batches.queries import BatchQueries
from pixelflow.controlplane.encryption import webhook_cipher
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.webhooks.dispatcher import LIMITS, DispatcherInputs, WebhookDispatcher
from pixelflow.controlplane.webhooks.due_events import DeliveryLimits
from pixelflow.controlplane.webhooks.service import WebhookService
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings

LOOPBACK = ip_network("127.0.0.0/8")
PIPELINE = [{"id": "small", "action": "resize", "width": 64, "format": "webp"}]


@pytest.fixture(scope="session")
def own_database(stack: Stack) -> Iterator[str]:
    """The URL of a migrated database of these tests' own."""
    with new_database(stack) as url:
        migrate(url)
        yield url


@dataclass
class Clock:
    """A clock that stands still until it is advanced. Starts ahead of the server's, so that new events are due."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(minutes=2))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        """Advance by a ``timedelta``."""
        self.now += timedelta(**by)


@dataclass
class Harness:
    """One user of a service, with dispatchers that share a clock."""

    database: AsyncDatabase
    jobs: JobService
    job_queries: JobQueries
    webhooks: WebhookService
    clock: Clock = field(default_factory=Clock)
    user_id: str = field(default_factory=lambda: f"user-{uuid4()}")
    outcomes: list[str] = field(default_factory=list)
    """Of the attempts that were counted in the metrics."""

    async def finished_job(self, url: str | None, *, status: str = "canceled", user_id: str | None = None) -> UUID:
        """Create a job, with a webhook unless ``url`` is None, and set its final status."""
        user_id = user_id or self.user_id
        own = {"webhook_url": url} if url else {}
        request = CreateJobRequest.model_validate(
            {"pipeline": PIPELINE, "source": {"content_length": 9}, "metadata": {"sku": "A"}, **own}
        )
        created = await self.jobs.create(user_id, request, job_id=new_id())
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE jobs SET status = %s, finished_at = now(), traceparent = %s WHERE job_id = %s",
                (status, TRACEPARENT, created.job_id),
            )
        return created.job_id

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Run a query."""
        async with self.database.connection() as connection:
            return await (await connection.execute(query, values)).fetchall()

    @asynccontextmanager
    async def dispatcher(
        self,
        *,
        timeout: float = 30.0,  # noqa: ASYNC109  # of the dispatcher
        limits: DeliveryLimits | None = None,
        max_concurrent: int = 64,
        resolve: Resolve | None = None,
        tracer: Tracer | None = None,
    ) -> AsyncIterator[WebhookDispatcher]:
        """A dispatcher that may call this machine."""
        outbound = OutboundHttp(OutboundRule(networks=(LOOPBACK,), allow_http=True), resolve=resolve)
        inputs = DispatcherInputs(
            get_job=self.job_queries.get,
            get_batch=BatchQueries(self.database).get,
            signing_secrets=self.webhooks.signing_secrets,
            new_id=new_id,
            clock=self.clock,
            jitter=lambda: 0.5,
        )
        dispatcher = WebhookDispatcher(
            self.database,
            outbound,
            inputs,
            limits=limits or LIMITS,
            timeout=timeout,
            max_concurrent=max_concurrent,
            on_attempt=self.outcomes.append,
            tracer=tracer,
        )
        try:
            yield dispatcher
        finally:
            await dispatcher.finish()
            outbound.close()


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def harness(settings: Settings, own_database: str) -> AsyncIterator[Harness]:
    """With an empty database."""
    wakeups = WakeUpSender(settings.redis_url.get_secret_value())
    allowed = settings.model_copy(update={"webhook_allow_cidrs": (LOOPBACK,), "webhook_allow_http": True})
    async with AsyncDatabase(own_database, max_connections=8, application="test", scope=EVERYONE) as database:
        async with database.connection() as connection:
            await connection.execute("DELETE FROM jobs")
            await connection.execute("DELETE FROM events")  # those without a job
            await connection.execute("DELETE FROM webhook_endpoints")
        objects = ObjectStorage(settings)
        jobs = JobService(
            allowed,
            database=database,
            wakeups=wakeups,
            objects=objects,
            local_files=LocalFiles(()),
        )
        webhooks = WebhookService(database, webhook_cipher(settings.require_secrets_keys()), new_id=new_id)
        job_queries = JobQueries(settings, database=database, objects=objects)
        yield Harness(database=database, jobs=jobs, job_queries=job_queries, webhooks=webhooks)


@pytest.fixture
def other_user(harness: Harness) -> Harness:
    """Another user of the same service."""
    return replace(harness, user_id=f"user-{uuid4()}")


async def drain(dispatcher: WebhookDispatcher) -> None:
    """Run ticks until no event is due and no delivery is running."""
    while await dispatcher.run_once():
        continue


async def wait_for_requests(receiver: Receiver, *, times: int = 1) -> None:
    """Wait until the receiver got ``times`` requests."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(receiver.received) < times:  # noqa: ASYNC110  # polls another thread
            await asyncio.sleep(0.01)
