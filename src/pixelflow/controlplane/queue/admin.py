"""Administration of shares by an operator, directly on the database rather than through the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pixelflow.adapters.postgres.database import EVERYONE, AsyncConnection, AsyncDatabase
from pixelflow.controlplane.identity import MAX_USER_ID, is_user_id
from pixelflow.controlplane.queue import store
from pixelflow.controlplane.queue.store import UserShare
from pixelflow.errors import FieldError, ValidationFailedError

_T = TypeVar("_T")


def set_share(database_url: str, *, user_id: str, weight: float, max_active: int | None) -> None:
    """Set the share of a user; see ``store.set_share``.

    Raises:
        ValidationFailedError: the user ID is not valid.
    """
    if not is_user_id(user_id):
        message = f"must be 1 to {MAX_USER_ID} printable characters"
        raise ValidationFailedError(f"The user ID {message}", [FieldError(pointer="/user_id", message=message)])
    _run(
        database_url,
        lambda connection: store.set_share(connection, user_id=user_id, weight=weight, max_active=max_active),
    )


def list_shares(database_url: str) -> list[UserShare]:
    """Return the users with a share of their own or with jobs in the queue, ordered by ID."""
    return _run(database_url, store.list_shares)


def _run(database_url: str, action: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        async with (
            AsyncDatabase(
                database_url, max_connections=1, application="pixelflow-cli", scope=EVERYONE, prepare=False
            ) as database,
            database.connection() as connection,
            connection.transaction(),
        ):
            return await action(connection)

    return asyncio.run(run())
