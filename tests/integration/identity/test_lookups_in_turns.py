"""The lookup of a key waits for neither other users nor invented keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import pytest
from tests.unit.identity.conftest import Clock

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.contracts.keys import DEFAULT_SCOPES, CreateKeyRequest
from pixelflow.controlplane.credentials import TRUST_SECONDS, Credentials
from pixelflow.controlplane.keys.service import ApiKeys
from pixelflow.errors import UnauthenticatedError

PLACES = 6
HEAVY_USERS = 12
KEYS = 20


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[AsyncDatabase]:
    async with AsyncDatabase(database_url, max_connections=PLACES, application="test", share=PLACES // 2) as opened:
        yield opened


async def _make_key(keys: ApiKeys, user_id: str) -> str:
    request = CreateKeyRequest(name="n", scopes=DEFAULT_SCOPES)
    return (await keys.create(user_id, request, resource_id=uuid4(), rate_limit=None)).key


async def test_keys_are_checked_in_turns_of_their_own(pool: AsyncDatabase, user_id: str) -> None:
    """However many users keep the connections busy, no lookup waits until it is the turn of all others."""
    keys, clock, uses = ApiKeys(pool), Clock(), 0
    credentials = Credentials(keys, None, clock=clock)
    known = [await _make_key(keys, f"{user_id}-{number}") for number in range(KEYS)]
    for key in known:
        await credentials.authenticate(key)
    clock.now += TRUST_SECONDS

    async def work(user: str) -> None:
        nonlocal uses
        while True:
            async with pool.connection(of_user(user)):
                uses += 1
                await asyncio.sleep(0.01)

    async def invent() -> None:
        with suppress(UnauthenticatedError):
            await credentials.authenticate(f"pf_{uuid4().hex}_guess")

    async with asyncio.TaskGroup() as tasks:
        busy = [tasks.create_task(work(f"heavy-{n % HEAVY_USERS}")) for n in range(HEAVY_USERS * PLACES)]
        await asyncio.sleep(0.05)
        before = uses
        for _ in range(50):
            tasks.create_task(invent())
        await asyncio.gather(*(credentials.authenticate(key) for key in known))
        during = uses - before
        for task in busy:
            task.cancel()
    assert during <= 4 * HEAVY_USERS, "about one turn of each other user"
