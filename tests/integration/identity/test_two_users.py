"""Every route with the IDs of another user's resources: the response is the same as for IDs that don't exist."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest
from tests.integration.identity.conftest import AddRows
from tests.integration.identity.http import OF_ONE, ROUTES, Route

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user

NewClient = Callable[[], httpx.Client]


async def _resources_of(database: AsyncDatabase, add_rows: AddRows, user_id: str) -> dict[str, str]:
    """One of each resource that a path can name, by its path parameter."""
    await add_rows(user_id)
    async with database.connection(of_user(user_id)) as connection:
        cursor = await connection.execute(
            "SELECT job_id, delivery_id, key_id, asset_id, presets.name AS preset, webhook_endpoints.endpoint_id,"
            " batches.batch_id FROM jobs, deliveries, api_keys, assets, presets, webhook_endpoints, batches"
        )
        row = await cursor.fetchone()
    assert row is not None
    return {name: str(value) for name, value in row.items()} | {"step_id": "their-step"}


@pytest.mark.parametrize("route", OF_ONE, ids=str)
async def test_another_users_resource_is_not_found(
    client: httpx.Client, database: AsyncDatabase, add_rows: AddRows, user_id: str, route: Route
) -> None:
    resources = await _resources_of(database, add_rows, user_id)
    named = {row["name"] for row in route.operation["parameters"] if row["in"] == "path"}
    assert named <= set(resources), "add one of these to `_resources_of`"
    theirs, missing = await asyncio.gather(
        asyncio.to_thread(route.send, client, resources), asyncio.to_thread(route.send, client)
    )
    assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")
    assert theirs.json()["detail"] == missing.json()["detail"], "the response does not reveal that the resource exists"


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=str)
async def test_lists_do_not_contain_another_users_resources(
    client: httpx.Client, database: AsyncDatabase, add_rows: AddRows, user_id: str, route: Route
) -> None:
    resources = await _resources_of(database, add_rows, user_id)
    answer = await asyncio.to_thread(route.send, client, resources)
    assert not [name for name, value in resources.items() if value in answer.text]
