"""A database of their own, so that no other courier takes these tests' events, and couriers with a clock to turn."""

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
from tests.support.webhook_receiver import Receiver

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.outbound_http import OutboundHttp, OutboundRule, Resolve
from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase
from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.adapters.queue import JobQueue
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.jobs import CreateJobRequest
from pixelflow.controlplane.encryption import SecretCipher
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.controlplane.webhooks.dispatcher import BOUNDS, DispatcherInputs, WebhookDispatcher
from pixelflow.controlplane.webhooks.secrets import WebhookSecrets
from pixelflow.controlplane.webhooks.service import Webhooks
from pixelflow.controlplane.webhooks.store import DeliveryLimits
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings

LOOPBACK = ip_network("127.0.0.0/8")
PIPELINE = [{"id": "small", "action": "resize", "width": 64, "format": "webp"}]


@pytest.fixture(scope="session")
def own_database(stack: Stack) -> Iterator[str]:
    """Its URL; migrated."""
    with new_database(stack) as url:
        migrate(url)
        yield url


@dataclass
class Clock:
    """A clock that stands still until it is turned. Begins a little ahead, so that what was just made is due."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(seconds=2))

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **by: float) -> None:
        """Let so much time pass."""
        self.now += timedelta(**by)


@dataclass
class Office:
    """What the tests of webhooks work with."""

    database: AsyncDatabase
    jobs: JobService
    shown_jobs: JobQueries
    webhooks: Webhooks
    secrets: WebhookSecrets
    clock: Clock = field(default_factory=Clock)
    user_id: str = field(default_factory=lambda: f"user-{uuid4()}")
    tried: list[str] = field(default_factory=list)
    """What the metrics are told."""

    async def ended_job(self, url: str, *, status: str = "canceled", user_id: str | None = None) -> UUID:
        """A job with a webhook that ended as ``status``."""
        user_id = user_id or self.user_id
        request = CreateJobRequest.model_validate({"pipeline": PIPELINE, "webhook_url": url, "metadata": {"sku": "A"}})
        created = await self.jobs.create(user_id, request, job_id=new_id())
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE jobs SET status = %s, finished_at = now(), traceparent = %s WHERE job_id = %s",
                (status, TRACEPARENT, created.job_id),
            )
        return created.job_id

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What the database holds."""
        async with self.database.connection() as connection:
            return await (await connection.execute(query, values)).fetchall()

    @asynccontextmanager
    async def courier(
        self,
        *,
        patience: float = 5.0,
        bounds: DeliveryLimits | None = None,
        in_hand: int = 64,
        resolve: Resolve | None = None,
        tracing: Tracer | None = None,
    ) -> AsyncIterator[WebhookDispatcher]:
        """A courier that may call this machine, with the office's clock."""
        outbound = OutboundHttp(OutboundRule(networks=(LOOPBACK,), allow_http=True), resolve=resolve)
        sources = DispatcherInputs(
            show=self.shown_jobs.get, secrets=self.secrets.valid, new_id=new_id, clock=self.clock, jitter=lambda: 0.5
        )
        courier = WebhookDispatcher(
            self.database,
            outbound,
            sources,
            bounds=bounds or BOUNDS,
            timeout=patience,
            in_hand=in_hand,
            tried=self.tried.append,
            tracing=tracing,
        )
        try:
            yield courier
        finally:
            await courier.finish()
            outbound.close()


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def office(settings: Settings, own_database: str) -> AsyncIterator[Office]:
    """With a database that no other process works on, emptied."""
    queue = JobQueue(settings.redis_url.get_secret_value())
    allowed = settings.model_copy(update={"webhook_allow_cidrs": (LOOPBACK,), "webhook_allow_http": True})
    async with AsyncDatabase(own_database, max_connections=8, application="test", reach=EVERYONE) as database:
        async with database.connection() as connection:
            await connection.execute("DELETE FROM jobs")
        objects = ObjectStorage(settings)
        jobs = JobService(
            allowed,
            database=database,
            queue=queue,
            objects=objects,
            local_files=LocalFiles(()),
            new_id=new_id,
        )
        secrets = WebhookSecrets(database, SecretCipher(settings.require_secrets_key()), new_id=new_id)
        shown = JobQueries(settings, database=database, objects=objects)
        yield Office(database=database, jobs=jobs, shown_jobs=shown, webhooks=Webhooks(database), secrets=secrets)
    queue.close()


@pytest.fixture
def other_office(office: Office) -> Office:
    """Another user's."""
    return replace(office, user_id=f"user-{uuid4()}")


async def settled(courier: WebhookDispatcher) -> None:
    """Rounds until nothing is due and nothing is under way."""
    while await courier.run_once():
        continue


async def called(receiver: Receiver, *, times: int = 1) -> None:
    """Wait until the receiver has so many requests."""
    async with asyncio.timeout(10):
        while len(receiver.received) < times:  # noqa: ASYNC110  # it is another thread that gets it
            await asyncio.sleep(0.01)
