"""API keys: made, shown once, kept as a hash, recognised again, revoked.

A key is ``pf_<key_id>_<secret>``. The secret has 192 random bits, so a plain SHA-256 keeps it; slow hashes are for
passwords. A key is looked up for every request and never remembered: a revocation holds from the next request on.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from pixelflow.adapters.postgres.database import NOBODY, AsyncDatabase, of_key, of_user
from pixelflow.contracts.errors import (
    FieldError,
    NotFoundError,
    TooManyKeysError,
    UnauthenticatedError,
    ValidationFailedError,
)
from pixelflow.contracts.keys import ApiKey, CreatedKey, CreateKeyRequest, KeyList
from pixelflow.controlplane.identity import Identity, KeyRateLimit, parse_scopes
from pixelflow.controlplane.keys import store

PREFIX = "pf_"
MAX_KEYS = 100
"""Keys of one user that are in force."""
MAX_LISTED = 200
"""Keys in one answer: all that are in force, and the latest of the others."""
LAST_USE = timedelta(minutes=1)
"""How exactly the last use is known; it is written no more often."""

_KEY_ID = re.compile(r"[0-9a-z]{1,32}", re.ASCII)
_KEY = re.compile(r"pf_(?P<key_id>[0-9a-z]{1,32})_(?P<secret>[0-9a-z]{1,128})", re.ASCII)


class ApiKeys:
    """What can be done with keys."""

    def __init__(self, database: AsyncDatabase, *, lookups: AsyncDatabase | None = None) -> None:
        """Use what is given.

        Args:
            database: for what users do.
            lookups: to authenticate by; its connections' tenant scope is empty and never changes. None: ``database``.
        """
        self._database = database
        self._lookups = lookups or database

    async def recognise(self, key: str) -> Identity:
        """Whose key this is, and what for.

        Raises:
            UnauthenticatedError: nobody's; it does not say whether the key is unknown, wrong, expired or revoked.
        """
        parts = _KEY.fullmatch(key)
        if parts is None:
            raise unauthenticated()
        async with self._lookups.connection(NOBODY) as connection:
            stored = await store.find_valid(connection, parts["key_id"], stale=LAST_USE)
        if stored is None or not hmac.compare_digest(stored.secret_hash, _hash(parts["secret"])):
            raise unauthenticated()
        if stored.last_use_is_stale:
            async with self._database.connection(of_key(stored.key_id)) as connection:
                await store.touch(connection, stored.key_id, stale=LAST_USE)
        return Identity(user_id=stored.user_id, scopes=parse_scopes(stored.scopes), limit=_limit(stored))

    async def create(
        self,
        user_id: str,
        request: CreateKeyRequest,
        *,
        resource_id: UUID,
        limit: KeyRateLimit | None,
    ) -> CreatedKey:
        """Make a key; the answer alone holds it whole.

        Args:
            user_id: whose.
            request: what for.
            resource_id: of the key; once more with the same one, before the key was ever used, makes its secret anew.
            limit: of whoever makes it, whose buckets it will share; one of its own is for the operator to give.

        Raises:
            ValidationFailedError: it would be over before it began.
            TooManyKeysError: the user has as many as allowed.
        """
        key_id, secret = key_id_of(resource_id), secrets.token_hex(24)
        async with self._database.connection(of_user(user_id)) as connection:
            if request.expires_at is not None and await store.is_past(connection, request.expires_at):
                raise ValidationFailedError(
                    "The key would never be valid", [FieldError(pointer="/expires_at", message="must be in the future")]
                )
            row = await store.insert(
                connection,
                key_id=key_id,
                user_id=user_id,
                name=request.name,
                secret_hash=_hash(secret),
                scopes=sorted(request.scopes),
                expires_at=request.expires_at,
                rate_limit=limit.capacity if limit else None,
                rate_limit_key=limit.key_id if limit else None,
                most=MAX_KEYS,
            )
        if row is None:
            raise TooManyKeysError(f"You have {MAX_KEYS} keys; revoke some that you no longer need")
        return CreatedKey(**_shown(row), key=f"{PREFIX}{key_id}_{secret}")

    async def list_all(self, user_id: str) -> KeyList:
        """The user's keys."""
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await store.list_all(connection, user_id=user_id, limit=MAX_LISTED)
        return KeyList(data=[ApiKey(**_shown(row)) for row in rows])

    async def revoke(self, user_id: str, key_id: str) -> None:
        """End a key of the user's; ending it again changes nothing.

        Raises:
            NotFoundError: the user has no such key.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            if not _KEY_ID.fullmatch(key_id) or not await store.revoke(connection, key_id=key_id, user_id=user_id):
                raise NotFoundError("You have no key of that id")


def key_id_of(resource_id: UUID) -> str:
    """The id of the key that is made under ``resource_id``."""
    return resource_id.hex[-12:]  # the last 48 bits of a new id are random


def unauthenticated(why: str = "") -> UnauthenticatedError:
    """The one answer to everybody who is not recognised; ``why`` is only for whoever has proved to be whom they say."""
    return UnauthenticatedError(why or "Send a valid API key or token as `Authorization: Bearer …`")


def _limit(stored: store.ValidKey) -> KeyRateLimit | None:
    if stored.rate_limit is None or stored.rate_limit_key is None:
        return None
    return KeyRateLimit(stored.rate_limit, stored.rate_limit_key)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _shown(row: store.KeyRow) -> dict[str, Any]:
    return {**asdict(row), "scopes": sorted(parse_scopes(row.scopes))}
