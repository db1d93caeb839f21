"""Every route that names a thing, with the ids of somebody else's things: as if there were none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest
from tests.integration.identity.conftest import AddRows
from tests.integration.identity.http import OF_ONE, ROUTES, Route

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user

NewClient = Callable[[], httpx.Client]


async def _things_of(database: AsyncDatabase, add_rows: AddRows, user_id: str) -> dict[str, str]:
    """One of everything that a path can name, by the name that it has there."""
    await add_rows(user_id)
    async with database.connection(of_user(user_id)) as connection:
        cursor = await connection.execute("SELECT job_id, delivery_id, key_id FROM jobs, deliveries, api_keys")
        row = await cursor.fetchone()
    assert row is not None
    return {name: str(value) for name, value in row.items()}


@pytest.mark.parametrize("route", OF_ONE, ids=str)
async def test_anothers_thing_is_not_there(
    client: httpx.Client, database: AsyncDatabase, add_rows: AddRows, user_id: str, route: Route
) -> None:
    things = await _things_of(database, add_rows, user_id)
    named = {row["name"] for row in route.operation["parameters"] if row["in"] == "path"}
    assert named <= set(things), "give `_things_of` one of these, too"
    theirs, nobodys = await asyncio.gather(
        asyncio.to_thread(route.send, client, things), asyncio.to_thread(route.send, client)
    )
    assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")
    assert theirs.json()["detail"] == nobodys.json()["detail"], "nor does the answer tell that it is somebody's"


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=str)
async def test_nothing_of_anothers_is_listed(
    client: httpx.Client, database: AsyncDatabase, add_rows: AddRows, user_id: str, route: Route
) -> None:
    things = await _things_of(database, add_rows, user_id)
    answer = await asyncio.to_thread(route.send, client, things)
    assert not [name for name, value in things.items() if value in answer.text]
