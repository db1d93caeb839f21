"""An API whose connections are shared by transaction, through a real PgBouncer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from uuid import uuid4

import httpx
import psycopg
import pytest
from pydantic import SecretStr
from tests.acceptance.running import new_home
from tests.integration.identity.conftest import serving
from tests.support.pgbouncer import pgbouncer

from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.settings import Settings

USERS = 8
JOB = {"pipeline": [{"id": "small", "action": "resize", "width": 64}], "source": {"content_length": 1}}


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    with new_home() as folder:
        folder.chmod(0o777)
        with pgbouncer(database_url, folder, server_connections=2) as url:
            yield url


@pytest.fixture
def clients(quiet: Settings, database_url: str, pooled_url: str) -> Iterator[list[httpx.Client]]:
    """Clients of an API behind PgBouncer, each with its own user."""
    changes = {"database_url": SecretStr(pooled_url), "database_prepared_statements": False}
    with ExitStack() as stack:
        url = stack.enter_context(serving(quiet.model_copy(update=changes)))
        clients = []
        for _ in range(USERS):
            key = issue_key(database_url, user_id=f"user-{uuid4()}", name="test")
            headers = {"Authorization": f"Bearer {key}"}
            clients.append(stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30)))
        yield clients


def _use(client: httpx.Client) -> None:
    """Create, show, cancel and erase jobs, in statements and transactions of all kinds."""
    mine = []
    for _ in range(5):
        key = {"Idempotency-Key": str(uuid4())}
        created, repeated = (client.post("/v1/jobs", json=JOB, headers=key) for _ in range(2))
        assert created.status_code == repeated.status_code == 202
        assert created.json()["job_id"] == repeated.json()["job_id"]
        mine.append(created.json()["job_id"])
    assert [each["job_id"] for each in client.get("/v1/jobs").json()["data"]] == mine[::-1]
    assert client.post(f"/v1/jobs/{mine[0]}/cancel").json()["status"] == "canceled"
    assert client.delete(f"/v1/jobs/{mine[1]}").status_code == 204
    assert client.post("/v1/webhook-secret/rotate").is_success
    assert len(client.get("/v1/jobs").json()["data"]) == len(mine) - 1


def test_users_who_share_two_sessions_see_only_their_jobs(clients: list[httpx.Client], pooled_url: str) -> None:
    with ThreadPoolExecutor(USERS) as threads:
        list(threads.map(_use, clients))
    assert clients[0].get("/readyz").json()["checks"]["postgres"] == "ok"
    with psycopg.connect(pooled_url, autocommit=True, prepare_threshold=None) as connection:
        rows = connection.execute(
            "SELECT current_setting('pixelflow.tenant_scope', true), current_setting('statement_timeout')"
        ).fetchall()
    assert rows in ([("", "0")], [(None, "0")]), "nothing is left in the session"
