"""Row-level security: a connection sees and writes the rows in its tenant scope, whatever its statements ask for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tests.integration.identity.conftest import AddRows

from pixelflow.adapters.postgres.connection import TenantScope
from pixelflow.adapters.postgres.database import EVERYONE, NOBODY, AsyncDatabase, of_key, of_user
from pixelflow.controlplane.keys import store

WITHOUT_TENANT = {"schema_migrations"}
"""Rows of no user."""
OF_USERS = {
    *("api_keys", "attempts", "deliveries", "events", "idempotency_keys", "jobs", "outputs", "usage_logs"),
    *("pending_deletions", "webhook_secrets", "assets", "job_assets", "presets", "preset_versions"),
    *("batches", "job_filters"),
    "awaited_sources",
    "webhook_endpoints",
}


async def _count(database: AsyncDatabase, table: str, scope: TenantScope) -> int:
    async with database.connection(scope) as connection:
        cursor = await connection.execute(sql.SQL("SELECT count(*) AS rows FROM {}").format(sql.Identifier(table)))
        row = await cursor.fetchone()
    assert row is not None
    return int(row["rows"])


async def test_every_table_has_row_level_security_that_also_applies_to_its_owner(database: AsyncDatabase) -> None:
    async with database.connection() as connection:
        cursor = await connection.execute(
            """SELECT relname, relrowsecurity AND relforcerowsecurity AS guarded FROM pg_class
               WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace"""
        )
        found = {row["relname"]: row["guarded"] for row in await cursor.fetchall()}
    assert {name for name, guarded in found.items() if not guarded} == WITHOUT_TENANT
    assert {name for name, guarded in found.items() if guarded} >= OF_USERS


async def test_no_view_and_no_function_bypasses_row_level_security(database: AsyncDatabase) -> None:
    """Of the functions that run as their owner, to whom it applies, too, none can be called by a statement."""
    async with database.connection() as connection:
        cursor = await connection.execute(
            """SELECT relname AS name FROM pg_class
               WHERE relkind IN ('v', 'm') AND relnamespace = current_schema()::regnamespace
               UNION ALL
               SELECT proname FROM pg_proc JOIN pg_roles ON pg_roles.oid = proowner
               WHERE prosecdef AND pronamespace = current_schema()::regnamespace
                 AND (prorettype <> 'trigger'::regtype OR rolsuper OR rolbypassrls
                      OR proconfig <> ARRAY['search_path=' || current_schema() || ', pg_temp'])"""
        )
        assert await cursor.fetchall() == []


async def test_row_level_security_applies_to_the_role(database: AsyncDatabase) -> None:
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert await cursor.fetchone() == {"rolsuper": False, "rolbypassrls": False}


@pytest.mark.parametrize("table", sorted(OF_USERS))
async def test_a_query_without_a_where_returns_only_the_users_rows(
    database: AsyncDatabase, add_rows: AddRows, user_id: str, table: str
) -> None:
    await add_rows(user_id)
    await add_rows(f"not-{user_id}")
    assert await _count(database, table, of_user(user_id)) == 1
    assert await _count(database, table, NOBODY) == 0
    assert await _count(database, table, EVERYONE) >= 2


@pytest.mark.parametrize("table", sorted(OF_USERS))
async def test_a_delete_without_a_where_deletes_only_the_users_rows(
    database: AsyncDatabase, add_rows: AddRows, user_id: str, table: str
) -> None:
    await add_rows(user_id)
    await add_rows(f"not-{user_id}")
    async with database.connection(of_user(user_id)) as connection:
        cursor = await connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        assert cursor.rowcount == 1
    assert await _count(database, table, of_user(f"not-{user_id}")) == 1


async def test_a_user_can_not_insert_a_row_of_another(database: AsyncDatabase, user_id: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with database.connection(of_user(user_id)) as connection:
            await connection.execute("INSERT INTO usage_logs VALUES (gen_random_uuid(), 'somebody else', 1, 1, 1)")


async def test_the_scope_of_a_key_shows_only_its_row(database: AsyncDatabase, add_rows: AddRows, user_id: str) -> None:
    await add_rows(user_id)
    await add_rows(f"not-{user_id}")
    async with database.connection(of_user(user_id)) as connection:
        cursor = await connection.execute("SELECT key_id FROM api_keys")
        [key] = await cursor.fetchall()
    scope = of_key(key["key_id"])
    assert {table: await _count(database, table, scope) for table in sorted(OF_USERS)} == {
        table: int(table == "api_keys") for table in sorted(OF_USERS)
    }


async def test_a_key_is_found_from_any_scope_and_the_scope_is_restored(
    database: AsyncDatabase, add_rows: AddRows, user_id: str
) -> None:
    """Also in a transaction, where a setting lasts beyond the statement."""
    await add_rows(user_id)
    await add_rows(f"not-{user_id}")
    async with database.connection(of_user(user_id)) as connection:
        cursor = await connection.execute("SELECT key_id FROM api_keys")
        [key] = await cursor.fetchall()
    for scope in (NOBODY, of_user(f"not-{user_id}")):
        before = await _count(database, "api_keys", scope)
        async with database.connection(scope) as connection, connection.transaction():
            for _ in range(2):
                found = await store.find_valid(connection, key["key_id"], stale=timedelta(minutes=1))
                assert found is not None
                assert found.user_id == user_id
                cursor = await connection.execute("SELECT current_setting('pixelflow.tenant_scope') AS scope")
                assert await cursor.fetchone() == {"scope": scope}
        assert await _count(database, "api_keys", scope) == before


async def test_the_function_that_finds_a_key_can_not_see_other_keys(
    database: AsyncDatabase, add_rows: AddRows, user_id: str
) -> None:
    """Even without its WHERE."""
    await add_rows(user_id)
    await add_rows(f"not-{user_id}")
    async with database.connection(of_user(user_id)) as connection:
        cursor = await connection.execute("SELECT key_id FROM api_keys")
        [key] = await cursor.fetchall()
    async with database.connection(NOBODY) as connection, connection.transaction(force_rollback=True):
        cursor = await connection.execute("SELECT pg_get_functiondef('find_api_key'::regproc) AS text")
        row = await cursor.fetchone()
        assert row is not None
        without_where = row["text"].replace("WHERE api_keys.key_id = find_api_key.key_id", "")
        assert without_where != row["text"]
        await connection.execute(without_where)
        cursor = await connection.execute("SELECT key_id FROM find_api_key(%s)", (key["key_id"],))
        assert await cursor.fetchall() == [key]


@pytest.mark.parametrize("hostile", ["everyone", "user:", "", "key:k", "a' OR 'a'='a"])
async def test_no_user_id_widens_the_scope(
    database: AsyncDatabase, add_rows: AddRows, user_id: str, hostile: str
) -> None:
    await add_rows(user_id)
    assert await _count(database, "usage_logs", of_user(hostile)) == 0


async def test_no_connection_keeps_the_scope_of_its_last_use(
    database: AsyncDatabase, add_rows: AddRows, user_id: str
) -> None:
    """Also after errors, rolled-back transactions and canceled tasks."""
    await add_rows(user_id)

    async def use_and_fail() -> None:
        async with database.connection(of_user(user_id)) as connection, connection.transaction():
            await connection.execute("SELECT 1 / 0")

    async def use_and_hang() -> None:
        async with database.connection(of_user(user_id)) as connection:
            await connection.execute("SELECT pg_sleep(60)")

    for use in (use_and_fail, use_and_hang):
        with pytest.raises((psycopg.errors.DivisionByZero, TimeoutError)):
            await asyncio.wait_for(use(), 0.2)
        assert await _count(database, "jobs", NOBODY) == 0
        assert await _count(database, "jobs", of_user(user_id)) == 1
        assert await _count(database, "jobs", of_user("another")) == 0


async def test_concurrent_uses_do_not_share_scopes(database_url: str, add_rows: AddRows) -> None:
    users = [f"user-{uuid4()}" for _ in range(8)]
    for user_id in users:
        await add_rows(user_id)

    async def look(user_id: str, database: AsyncDatabase) -> set[str]:
        async with database.connection(of_user(user_id)) as connection:
            cursor = await connection.execute("SELECT user_id FROM jobs")
            return {row["user_id"] for row in await cursor.fetchall()}

    async with AsyncDatabase(database_url, max_connections=3, application="test") as database:
        seen = await asyncio.gather(*(look(user_id, database) for user_id in users * 20))
    assert seen == [{user_id} for user_id in users * 20]
