"""Row-level security: without its ``WHERE user_id = …``, a statement still can't read or change other users' rows."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import AsyncCursor, sql
from psycopg.abc import Params
from psycopg.rows import DictRow
from tests.integration.identity.conftest import AddRows
from tests.integration.identity.test_tenant_scope import OF_USERS
from tests.support.code import sql_functions

from pixelflow.adapters.postgres.connection import TenantScope
from pixelflow.adapters.postgres.database import EVERYONE, AsyncConnection, AsyncDatabase, of_user
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.store import SourcePlace, UploadLimits, Waiting
from pixelflow.controlplane.webhook_endpoints.store import EndpointChange, EndpointRow

_OWNER = re.compile(r"((?:\w+\.)?user_id = (?:%s|%\(user_id\)s))")
_DAY = timedelta(days=1)
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class WithoutUserCondition:
    """A connection that removes the user condition from every statement."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.removed = 0

    def transaction(self) -> AbstractAsyncContextManager[object]:
        return self._connection.transaction()

    async def execute(self, statement: str, values: Params | None = None) -> AsyncCursor[DictRow]:
        statement, count = _OWNER.subn(r"(\1 OR true)", statement)
        self.removed += count
        return await self._connection.execute(statement, values)


def _owner_facing() -> dict[str, Callable[..., Awaitable[Any]]]:
    """Every SQL function for one user: it has a ``user_id`` parameter."""
    return {
        name: function
        for name, function in sql_functions().items()
        if inspect.iscoroutinefunction(function) and "user_id" in inspect.signature(function).parameters
    }


FUNCTIONS = _owner_facing()
REQUEST = CreateJobRequest.model_validate(
    {"pipeline": [{"id": "small", "action": "resize", "width": 9, "format": "webp"}]}
)


def _arguments(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The arguments of each function: my user ID, and the other user's IDs everywhere else."""
    job = {"job_id": theirs["job_id"]}
    key = {"key": "k", "fingerprint": b"x", "holder": theirs["holder"]}
    new_key: dict[str, Any] = {
        "key_id": uuid4().hex,
        "name": "n",
        "secret_hash": b"x",
        "scopes": [],
        "expires_at": None,
        "rate_limit": None,
        "rate_limit_key": None,
        "max_keys": 99,
    }
    queued = {"moved_from": {"created"}, "new_run": False, "max_active": None, "traceparent": None}
    queued |= {"source_key": "k", "source_bytes": 1, "source_version": "v"}
    asset, batch = {"asset_id": theirs["asset_id"]}, {"batch_id": theirs["batch_id"]}
    endpoint = {"endpoint_id": theirs["endpoint_id"]}
    new_asset = {"asset_id": mine["new_id"], "size": 1, "content_type": None, "max_assets": 9, "max_total_bytes": 9}
    return {
        "assets.complete": {**asset, "etag": "mine"},
        "assets.delete": asset,
        "assets.find": asset,
        "assets.find_by_name": {"name": "logo"},
        "assets.insert": {**new_asset, "name": "new"},
        "assets.list_all": {},
        "assets.resolve": {"names": ["logo"], "asset_ids": [theirs["asset_id"]]},
        "presets.count": {"name": theirs["preset"]},
        "presets.delete": {"name": theirs["preset"]},
        "presets.find": {"name": theirs["preset"]},
        "presets.find_version": {"name": theirs["preset"], "version": 1},
        "presets.insert_version": {"name": "new", "description": None, "parameters": {}, "pipeline": []},
        "presets.list_latest": {},
        "presets.list_versions": {"name": theirs["preset"]},
        "presets.lock": {},
        "batches.close": batch,
        "batches.count_jobs": batch,
        "batches.delete": batch,
        "batches.find": batch,
        "batches.insert": {"batch_id": mine["new_id"], "name": None, "job": {}},
        "batches.list_new": {**batch, "job_ids": [mine["new_id"]]},
        "batches.list_newest": {"limit": 99, "before": None},
        "batches.list_unfinished": {**batch, "limit": 9},
        "batches.set_canceled": batch,
        "webhook_endpoints.count_others": {"endpoint_id": mine["new_id"]},
        "webhook_endpoints.delete": endpoint,
        "webhook_endpoints.find": endpoint,
        "webhook_endpoints.has_url": {"url": "https://client.example/", "except_for": mine["endpoint_id"]},
        "webhook_endpoints.insert": {
            "endpoint": EndpointRow(
                theirs["endpoint_id"], "https://new.example/", None, "", enabled=True, created_at=_LONG_AGO
            )
        },
        "webhook_endpoints.insert_test_event": {**endpoint, "event_id": "msg_1", "event_type": "webhook.test"},
        "webhook_endpoints.list_all": {},
        "webhook_endpoints.lock": {},
        "webhook_endpoints.update": {
            **endpoint,
            "change": EndpointChange(None, "mine", enabled=None, changes_event_types=False, event_types=None),
        },
        "webhooks.list_batch_deliveries": {**batch, "limit": 9},
        "webhooks.list_endpoint_deliveries": {**endpoint, "limit": 9},
        "webhooks.mark_shown": {},
        "webhooks.list_deliveries": {**job, "limit": 9},
        "webhooks.replay_event": {"delivery_id": theirs["delivery_id"]},
        "idempotency.claim": {**key, "job_id": None, "resource_id": uuid4(), "lease": _DAY, "keep": _DAY},
        "idempotency.find": {"key": "k"},
        "idempotency.finish": {"key": "k", "holder": theirs["holder"], "status": 200, "ciphertext": b"mine"},
        "idempotency.forget_job": job,
        "idempotency.release": {"key": "k", "holder": theirs["holder"]},
        "jobs.find": {**job, "with_history": True},
        "jobs.insert": {
            "job_id": mine["new_id"],
            "request": REQUEST,
            "place": SourcePlace("k"),
            "max_attempts": 1,
            "limits": UploadLimits(9, 9, undeclared_bytes=1),
        },
        "live.find": job,
        "live.find_active": {},
        "jobs.origins.find": job,
        "jobs.lists.list_newest": {"filters": JobFilters(), "limit": 99, "before": None},
        "keys.find_scopes": {"key_id": theirs["key_id"]},
        "keys.insert": new_key,
        "keys.list_all": {"limit": 99},
        "queue.set_share": {"weight": 2.0, "max_active": 1},
        "keys.revoke": {"key_id": theirs["key_id"]},
        "jobs.awaited.renew": {**job, "waiting": Waiting(_DAY, _DAY, traceparent=None)},
        "jobs.transitions.fail_unstarted": {**job, "code": "c", "message": "m", "upload_grace": _DAY},
        "jobs.transitions.cancel": job,
        "jobs.transitions.erase": job,
        "jobs.transitions.find": job,
        "jobs.transitions.set_multipart_upload": {**job, "upload_id": "mine", "replaced": None},
        "jobs.transitions.queue": {**job, **queued},
        "usage.by_day": {"first": _LONG_AGO.date(), "end": (_LONG_AGO + 99_999 * _DAY).date()},
        "webhooks.insert_first_secret": {"secret_id": uuid4(), "ciphertext": b"mine"},
        "webhooks.list_valid_secrets": {},
        "webhooks.replace_secret": {"secret_id": uuid4(), "ciphertext": b"mine", "overlap": _DAY, "keep": 1},
    }


async def _all_of(connection: AsyncConnection, user_id: str) -> dict[str, Any]:
    """Every row of the user's, in every table."""
    rows = {}
    for table in sorted(OF_USERS):
        is_of_job = table in {"attempts", "outputs", "pending_deletions", "job_assets"}
        owned = "job_id IN (SELECT job_id FROM jobs WHERE user_id = %s)" if is_of_job else "user_id = %s"
        query = sql.SQL("SELECT to_jsonb(t) AS row FROM {} t WHERE {}").format(sql.Identifier(table), sql.SQL(owned))
        cursor = await connection.execute(query, (user_id,))
        rows[table] = sorted(str(row["row"]) for row in await cursor.fetchall())
    return rows


async def _ids_of(connection: AsyncConnection, user_id: str) -> dict[str, Any]:
    ids: dict[str, Any] = {"new_id": uuid4()}
    for table, column in (
        *(("jobs", "job_id"), ("deliveries", "delivery_id"), ("api_keys", "key_id")),
        *(("idempotency_keys", "holder"), ("events", "event_id"), ("webhook_secrets", "secret_id")),
        *(("assets", "asset_id"), ("presets", "name"), ("batches", "batch_id")),
        *(("assets", "asset_id"), ("presets", "name"), ("webhook_endpoints", "endpoint_id")),
    ):
        query = sql.SQL("SELECT {} AS id FROM {} WHERE user_id = %s").format(
            sql.Identifier(column), sql.Identifier(table)
        )
        row = await (await connection.execute(query, (user_id,))).fetchone()
        assert row is not None
        ids["preset" if table == "presets" else column] = row["id"]
    return ids


@asynccontextmanager
async def _undone(database: AsyncDatabase, scope: TenantScope) -> AsyncIterator[AsyncConnection]:
    async with database.connection(scope) as connection, connection.transaction(force_rollback=True):
        yield connection


async def _call(database: AsyncDatabase, scope: TenantScope, name: str, mine: str, theirs: str) -> tuple[bool, int]:
    """Call it as one user with another's IDs. Return whether it accessed their rows, and the conditions lost."""
    async with _undone(database, EVERYONE) as connection:
        ids = {user_id: await _ids_of(connection, user_id) for user_id in (mine, theirs)}
        await connection.execute("UPDATE jobs SET status = 'created', finished_at = NULL WHERE user_id = %s", (theirs,))
        before = await _all_of(connection, theirs)
        await connection.execute("SELECT set_config('pixelflow.tenant_scope', %s, true)", (scope,))
        unguarded = WithoutUserCondition(connection)
        function = FUNCTIONS[name]
        answer = await function(unguarded, user_id=mine, **_arguments(ids[mine], ids[theirs])[name])
        await connection.execute("SELECT set_config('pixelflow.tenant_scope', 'everyone', true)")
        after = await _all_of(connection, theirs)
    secrets = {str(value) for value in ids[theirs].values() if isinstance(value, str | UUID)}
    shown = any(secret in repr(answer) for secret in secrets) or answer is True
    return shown or after != before, unguarded.removed


def test_every_function_with_a_user_id_is_tested_here() -> None:
    named = ("job_id", "delivery_id", "key_id", "holder", "new_id", "asset_id", "preset", "endpoint_id", "batch_id")
    ids = {name: uuid4() for name in named} | {"key_id": "k"}
    assert set(_arguments(ids, ids)) == set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
async def test_without_its_where_a_statement_neither_reads_nor_changes_other_users_rows(
    database: AsyncDatabase, add_rows: AddRows, user_id: str, name: str
) -> None:
    other = f"not-{user_id}"
    await add_rows(user_id)
    await add_rows(other)
    reached, _ = await _call(database, of_user(user_id), name, user_id, other)
    assert not reached


@pytest.mark.parametrize(
    "name",
    [
        "assets.delete",
        "assets.list_all",
        "assets.resolve",
        "jobs.find",
        "jobs.lists.list_newest",
        "keys.list_all",
        "keys.revoke",
        "jobs.transitions.cancel",
        "jobs.transitions.erase",
    ],
)
async def test_without_row_level_security_the_same_statement_would_have(
    database: AsyncDatabase, add_rows: AddRows, user_id: str, name: str
) -> None:
    """Proves that the test above can fail."""
    other = f"not-{user_id}"
    await add_rows(user_id)
    await add_rows(other)
    reached, removed = await _call(database, EVERYONE, name, user_id, other)
    assert removed > 0
    assert reached
