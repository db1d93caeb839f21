"""Key administration by an operator, directly on the database rather than through the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase
from pixelflow.contracts.field_errors import error_message
from pixelflow.contracts.keys import DEFAULT_SCOPES, ApiKey, CreateKeyRequest, Scope
from pixelflow.controlplane.identity import MAX_USER_ID, KeyRateLimit, is_user_id
from pixelflow.controlplane.keys import store
from pixelflow.controlplane.keys.service import ApiKeys, key_id_of
from pixelflow.errors import FieldError, NotFoundError, ValidationFailedError

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
    """Create an API key for ``user_id`` and return it. It can't be shown again.

    Args:
        database_url: the database that stores keys.
        user_id: the owner.
        name: a label that distinguishes the key from the user's other keys.
        scopes: what the key grants.
        expires_at: when the key expires; None: never.
        rate_limit: a limit of the key's own, in requests per class and window; None: the user's shared limit.

    Raises:
        ValidationFailedError: the user ID or the name is not valid, or ``expires_at`` is in the past.
        TooManyKeysError: the user has the maximum number of active keys.
    """
    _check_user_id(user_id)
    try:
        request = CreateKeyRequest(name=name, scopes=scopes, expires_at=expires_at)
    except ValidationError as error:
        raise ValidationFailedError(
            "; ".join(f"{row['loc'][0]} {error_message(row)}" for row in error.errors()), []
        ) from error
    resource_id = new_id()
    limit = None if rate_limit is None else KeyRateLimit(rate_limit, key_id_of(resource_id))
    return _run(
        database_url,
        lambda database: ApiKeys(database).create(user_id, request, resource_id=resource_id, rate_limit=limit),
    ).key


def list_keys(database_url: str, *, user_id: str) -> list[ApiKey]:
    """Return the user's keys: active keys first, then newest first."""
    _check_user_id(user_id)
    return _run(database_url, lambda database: ApiKeys(database).list_all(user_id)).data


def revoke_key(database_url: str, *, key_id: str) -> str:
    """Revoke a key of any user and return the user's ID. All API processes reject the key within two seconds.

    Raises:
        NotFoundError: no key has that ID.
    """

    async def revoke(database: AsyncDatabase) -> str:
        async with database.connection() as connection:
            user_id = await store.find_user(connection, key_id)
            if user_id is None:
                raise NotFoundError("No key has this ID")
            await store.revoke(connection, key_id=key_id, user_id=user_id)
        return user_id

    return _run(database_url, revoke)


def _check_user_id(user_id: str) -> None:
    if not is_user_id(user_id):
        error = FieldError(pointer="/user_id", message=f"must be 1 to {MAX_USER_ID} printable characters")
        raise ValidationFailedError(f"The user ID must be 1 to {MAX_USER_ID} printable characters", [error])


def _run(database_url: str, action: Callable[[AsyncDatabase], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        async with AsyncDatabase(
            database_url, max_connections=1, application="pixelflow-cli", scope=EVERYONE, prepare=False
        ) as database:
            return await action(database)

    return asyncio.run(run())
