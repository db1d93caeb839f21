"""Fixtures: the database as the API opens it, and a user with a row in every table."""

from __future__ import annotations

import functools
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import pytest
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry
from tests.support.waiting import DEADLINE_SECONDS

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.controlplane.api.main import make_app
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.server.serve import make_server
from pixelflow.controlplane.api.services import open_services
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings

AddRows = Callable[[str], Awaitable[None]]

_ROWS = """
    INSERT INTO jobs (job_id, user_id, source_type, source_key, pipeline, max_attempts, status, finished_at, metadata)
        VALUES (%(job_id)s, %(user_id)s, 's3_presigned', 'k', '[]', 5, 'succeeded', now(), '{"sku": "A-17"}');
    INSERT INTO attempts (job_id, attempt, worker_id) VALUES (%(job_id)s, 1, 'w');
    INSERT INTO outputs VALUES (%(job_id)s, 'small', 0, 'resize', 'webp', 'k', 1, 1, 1, 'x');
    INSERT INTO assets (asset_id, user_id, name, bytes, etag, ready_at)
        VALUES (%(asset_id)s, %(user_id)s, 'logo', 1, 'e', now());
    INSERT INTO batches (batch_id, user_id, job) VALUES (gen_random_uuid(), %(user_id)s, '{}');
    INSERT INTO awaited_sources VALUES (%(job_id)s, %(user_id)s, now(), 'infinity', 'infinity');
    INSERT INTO presets VALUES (%(user_id)s, %(name)s, 1);
    INSERT INTO preset_versions VALUES (%(user_id)s, %(name)s, 1, NULL, '{}', '[]');
    INSERT INTO job_assets VALUES (%(job_id)s, 'logo', %(asset_id)s);
    INSERT INTO pending_deletions VALUES (%(job_id)s, 'orphan', 1, 'infinity');
    INSERT INTO usage_logs VALUES (%(job_id)s, %(user_id)s, 1, 1, 1);
    INSERT INTO events (event_id, job_id, run, user_id, type, url, status)  -- nothing for a dispatcher to do
        VALUES (%(name)s, %(job_id)s, 1, %(user_id)s, 'job.completed', 'https://client.example/', 'delivered');
    INSERT INTO deliveries (delivery_id, event_id, user_id, attempt, started_at, latency_ms, outcome)
        VALUES (gen_random_uuid(), %(name)s, %(user_id)s, 1, now(), 1, 'delivered');
    INSERT INTO webhook_endpoints (endpoint_id, user_id, url, description, enabled)
        VALUES (%(endpoint_id)s, %(user_id)s, 'https://client.example/', '', false);
    INSERT INTO webhook_secrets (secret_id, user_id, ciphertext) VALUES (gen_random_uuid(), %(user_id)s, 'x');
    INSERT INTO api_keys (key_id, user_id, name, secret_hash, scopes) VALUES (%(name)s, %(user_id)s, 'n', 'x', '{}');
    INSERT INTO idempotency_keys (user_id, key, fingerprint, job_id, resource_id, holder, lease_until)
        VALUES (%(user_id)s, 'k', 'x', %(job_id)s, gen_random_uuid(), gen_random_uuid(), now())
"""


@pytest.fixture(scope="session")
def database_url(stack: Stack) -> str:
    return stack.environment["PIXELFLOW_DATABASE_URL"]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[AsyncDatabase]:
    """As the API opens it: without access by default. One connection, so that every use follows another."""
    async with AsyncDatabase(database_url, max_connections=1, application="test") as opened:
        yield opened


@pytest.fixture
def add_rows(database: AsyncDatabase) -> AddRows:
    """Inserts a row of a user into every table that has users' rows."""

    async def add(user_id: str) -> None:
        ids = {name: uuid4() for name in ("job_id", "asset_id", "endpoint_id")}
        values = {"user_id": user_id, "name": uuid4().hex, **ids}
        async with database.connection(of_user(user_id)) as connection:
            for statement in _ROWS.split(";"):
                await connection.execute(statement, values)

    return add


@pytest.fixture
def user_id() -> str:
    return f"user-{uuid4()}"


@contextmanager
def serving(settings: Settings, registry: CollectorRegistry | None = None) -> Iterator[str]:
    """Run an API with the given settings and metrics registry. Yields its URL."""
    metrics = ApiMetrics(registry or CollectorRegistry())
    app = make_app(functools.partial(open_services, settings, metrics), metrics, NoOpTracer())
    listening = socket.create_server(("127.0.0.1", 0))
    server = make_server(app, settings, metrics)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def running_api() -> Iterator[Callable[..., str]]:
    """As :func:`serving`, until the test ends."""
    with ExitStack() as stack:
        yield lambda settings, registry=None: stack.enter_context(serving(settings, registry))
