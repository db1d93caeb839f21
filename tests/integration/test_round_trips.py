"""How often a request waits for Postgres, counted by a proxy in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from tests.integration.identity.conftest import serving
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.waiting import eventually

from pixelflow.adapters.postgres.connection import TimeLimits
from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.settings import Settings

Json: TypeAlias = dict[str, Any]
USERS = 12
JOB = {"pipeline": [{"id": "small", "action": "resize", "width": 64}], "source": {"content_length": 1}}
FIND_KEY = 1
"""Round trips to find the API key, unless the process remembers it."""

_SHOW = """
    SELECT current_setting('pixelflow.tenant_scope') AS scope, current_setting('statement_timeout') AS statement,
           current_setting('lock_timeout') AS lock
"""


@pytest.fixture
def proxy(database_url: str) -> Iterator[FaultyProxy]:
    url = urlsplit(database_url)
    assert url.hostname
    assert url.port
    with faulty_proxy((url.hostname, url.port)) as opened:
        yield opened


@pytest.fixture
def proxied_url(proxy: FaultyProxy, database_url: str) -> str:
    return database_url.replace(database_url.rpartition("@")[2].partition("/")[0], proxy.address)


@pytest.fixture
def clients(quiet: Settings, database_url: str, proxied_url: str) -> Iterator[list[httpx.Client]]:
    """Clients of one API, each with its own user, whose key was used already."""
    with ExitStack() as stack:
        url = stack.enter_context(serving(quiet.model_copy(update={"database_url": SecretStr(proxied_url)})))
        clients = []
        for number in range(USERS):
            key = issue_key(database_url, user_id=f"user-{number}-{uuid4()}", name="test")
            headers = {"Authorization": f"Bearer {key}"}
            clients.append(stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30)))
        for client in clients:
            _start(client, _uploaded(_create(client)))
        yield clients


def _create(client: httpx.Client) -> Json:
    response = client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": str(uuid4())})
    assert response.status_code == 202
    created: Json = response.json()
    return created


def _uploaded(created: Json) -> Json:
    upload = created["upload"]
    httpx.put(upload["presigned_put_url"], content=b"x", headers=upload["headers"]).raise_for_status()
    return created


def _start(client: httpx.Client, created: Json) -> None:
    assert client.post(created["start_url"]).status_code == 202


def test_a_create_and_a_start_are_a_round_trip_each_however_many_users_take_turns(
    clients: list[httpx.Client], proxy: FaultyProxy
) -> None:
    """Unless a connection was idle for so long, on a busy machine, that it is checked before."""

    def most_requests() -> int:
        before = proxy.requests
        created = [_create(client) for client in clients]
        for_creates = proxy.requests - before
        for each in created:
            _uploaded(each)
        before = proxy.requests
        for client, each in zip(clients, created, strict=True):
            _start(client, each)
        return max(for_creates, proxy.requests - before)

    eventually(lambda: most_requests() <= (FIND_KEY + 1) * USERS)


async def test_statements_of_two_users_on_one_connection_are_a_round_trip_each(
    proxied_url: str, proxy: FaultyProxy
) -> None:
    limits = TimeLimits(statement_seconds=7, lock_seconds=2)
    async with AsyncDatabase(proxied_url, max_connections=1, application="test", limits=limits) as database:
        seen = []
        for user in ("a", "b", "a"):
            async with database.connection(of_user(user)) as connection:
                before = proxy.requests
                cursor = await connection.execute(_SHOW)
                assert proxy.requests - before == 1
                seen += await cursor.fetchall()
    limited = {"statement": "7s", "lock": "2s"}
    assert seen == [{"scope": f"user:{user}", **limited} for user in ("a", "b", "a")]


async def test_a_rolled_back_transaction_leaves_a_connection_that_works(database_url: str) -> None:
    async with AsyncDatabase(database_url, max_connections=1, application="test") as database:
        for _ in range(2):
            for _ in range(10):  # until all statements are prepared
                async with database.connection(of_user("a")) as connection:
                    await connection.execute(_SHOW)
            with suppress(ZeroDivisionError):
                async with database.connection(of_user("b")) as connection, connection.transaction():
                    await connection.execute(_SHOW)
                    raise ZeroDivisionError
