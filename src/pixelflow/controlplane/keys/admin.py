"""What an operator does by hand, on the database rather than through the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase
from pixelflow.contracts.errors import FieldError, NotFoundError, ValidationFailedError
from pixelflow.contracts.field_errors import error_message
from pixelflow.contracts.keys import DEFAULT_SCOPES, ApiKey, CreateKeyRequest, Scope
from pixelflow.controlplane.identity import MAX_USER_ID, KeyRateLimit, is_user_id
from pixelflow.controlplane.keys import store
from pixelflow.controlplane.keys.service import ApiKeys, key_id_of

_T = TypeVar("_T")


def issue_key(
    database_url: str,
    *,
    user_id: str,
    name: str,
    scopes: frozenset[Scope] = DEFAULT_SCOPES,
    expires_at: datetime | None = None,
    rate_limit: int | None = None,
) -> str:
    """Make an API key for ``user_id`` and return it; it can't be shown again.

    Args:
        database_url: where keys are kept.
        user_id: whose.
        name: to tell it from their others.
        scopes: what for.
        expires_at: until when; None: until it is revoked.
        rate_limit: a limit of its own, in requests of each class within the window; None: its user's.

    Raises:
        ValidationFailedError: that is no user's id or no name, or the key would be over before it began.
        TooManyKeysError: the user has as many as allowed.
    """
    _check_user_id(user_id)
    try:
        request = CreateKeyRequest(name=name, scopes=scopes, expires_at=expires_at)
    except ValidationError as error:
        raise ValidationFailedError(
            "; ".join(f"{row['loc'][0]} {error_message(row)}" for row in error.errors()), []
        ) from error

    async def issue(database: AsyncDatabase) -> str:
        resource_id = new_id()
        limit = None if rate_limit is None else KeyRateLimit(rate_limit, key_id_of(resource_id))
        return (await ApiKeys(database).create(user_id, request, resource_id=resource_id, limit=limit)).key

    return _run(database_url, issue)


def list_keys(database_url: str, *, user_id: str) -> list[ApiKey]:
    """The user's keys: those in force first, then newest first."""
    _check_user_id(user_id)

    async def list_all(database: AsyncDatabase) -> list[ApiKey]:
        return (await ApiKeys(database).list_all(user_id)).data

    return _run(database_url, list_all)


def revoke_key(database_url: str, *, key_id: str) -> str:
    """End a key, whoever's it is, from the next request on; returns its user's id.

    Raises:
        NotFoundError: there is none of that id.
    """

    async def revoke(database: AsyncDatabase) -> str:
        async with database.connection() as connection:
            user_id = await store.find_user(connection, key_id)
        if user_id is None:
            raise NotFoundError("There is no key of that id")
        await ApiKeys(database).revoke(user_id, key_id)
        return user_id

    return _run(database_url, revoke)


def _check_user_id(user_id: str) -> None:
    if not is_user_id(user_id):
        error = FieldError(pointer="/user_id", message=f"must be 1 to {MAX_USER_ID} printable characters")
        raise ValidationFailedError(f"A user's id has 1 to {MAX_USER_ID} printable characters", [error])


def _run(database_url: str, work: Callable[[AsyncDatabase], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        async with AsyncDatabase(
            database_url, max_connections=1, application="pixelflow-cli", reach=EVERYONE
        ) as database:
            return await work(database)

    return asyncio.run(run())
