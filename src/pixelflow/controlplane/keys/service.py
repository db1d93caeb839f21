"""API keys: create, authenticate, list, revoke.

A key is ``pf_<key_id>_<secret>``. The database stores a plain SHA-256 of the secret: the secret has 192 random bits,
and slow hashes are only needed for passwords. ``Credentials`` remembers for a moment which keys are valid.
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
from pixelflow.contracts.field_errors import validation_failed
from pixelflow.contracts.keys import ApiKey, CreatedKey, CreateKeyRequest, KeyList
from pixelflow.controlplane.identity import Identity, KeyRateLimit, parse_scopes
from pixelflow.controlplane.keys import store
from pixelflow.errors import (
    FieldError,
    NotFoundError,
    TooManyKeysError,
    UnauthenticatedError,
)

PREFIX = "pf_"
MAX_KEYS = 100
"""Active keys per user."""
MAX_LISTED = 200
"""Keys in one list: all active keys, and the newest of the others."""
LAST_USE_PRECISION = timedelta(minutes=1)
"""Precision of ``last_used_at``, which is written no more often than this."""

_UNRECOGNIZED = "keys that are not recognized"
"""The owner of the connections that look them up."""
_KEY_ID = re.compile(r"[0-9a-z]{1,32}", re.ASCII)
_KEY = re.compile(r"pf_(?P<key_id>[0-9a-z]{1,32})_(?P<secret>[0-9a-z]{1,128})", re.ASCII)


class ApiKeys:
    """The API keys of all users."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def authenticate(self, key: str, *, recognized: bool) -> Identity:
        """Return the identity that the key proves.

        ``recognized``: the key was valid before. It waits for a connection in a turn of its own; all other keys share
        one turn, because anyone can invent them.

        Raises:
            UnauthenticatedError: the key is unknown, wrong, expired or revoked; the error does not say which.
        """
        parts = _KEY.fullmatch(key)
        if parts is None:
            raise unauthenticated()
        owner = of_key(parts["key_id"]) if recognized else _UNRECOGNIZED
        async with self._database.connection(NOBODY, owner=owner) as connection:
            stored = await store.find_valid(connection, parts["key_id"], stale=LAST_USE_PRECISION)
        if stored is None or not hmac.compare_digest(stored.secret_hash, _hash(parts["secret"])):
            raise unauthenticated()
        if stored.last_use_is_stale:
            async with self._database.connection(of_key(stored.key_id)) as connection:
                await store.touch(connection, stored.key_id, stale=LAST_USE_PRECISION)
        return Identity(user_id=stored.user_id, scopes=parse_scopes(stored.scopes), rate_limit=_rate_limit(stored))

    async def create(
        self,
        user_id: str,
        request: CreateKeyRequest,
        *,
        resource_id: UUID,
        rate_limit: KeyRateLimit | None,
    ) -> CreatedKey:
        """Create a key. Only the return value contains the secret.

        Idempotent per ``resource_id``: a repeated call returns the same key with a new secret, as long as the key was
        never used.

        Args:
            user_id: the owner.
            request: name, scopes and expiry.
            resource_id: determines the key's ID.
            rate_limit: the limit of the creating key, whose buckets the new key shares. Only the operator can give a
                key a limit of its own.

        Raises:
            ValidationFailedError: ``expires_at`` is in the past.
            TooManyKeysError: the user has the maximum number of active keys.
        """
        key_id, secret = key_id_of(resource_id), secrets.token_hex(24)
        async with self._database.connection(of_user(user_id)) as connection:
            if request.expires_at is not None and await store.is_past(connection, request.expires_at):
                raise validation_failed([FieldError(pointer="/expires_at", message="must be in the future")])
            row = await store.insert(
                connection,
                key_id=key_id,
                user_id=user_id,
                name=request.name,
                secret_hash=_hash(secret),
                scopes=sorted(request.scopes),
                expires_at=request.expires_at,
                rate_limit=rate_limit.capacity if rate_limit else None,
                rate_limit_key=rate_limit.key_id if rate_limit else None,
                max_keys=MAX_KEYS,
            )
        if row is None:
            raise TooManyKeysError(f"You have {MAX_KEYS} active keys; revoke keys that you no longer need")
        return CreatedKey(**_fields(row), key=f"{PREFIX}{key_id}_{secret}")

    async def list_all(self, user_id: str) -> KeyList:
        """Return the user's keys: active keys first, then newest first."""
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await store.list_all(connection, user_id=user_id, limit=MAX_LISTED)
        return KeyList(data=[ApiKey(**_fields(row)) for row in rows])

    async def revoke(self, identity: Identity, key_id: str) -> None:
        """Revoke a key of the identity's user. Idempotent.

        Raises:
            NotFoundError: the user has no key with that ID.
            InsufficientScopeError: the key has a scope that the identity lacks.
        """
        user_id = identity.user_id
        async with self._database.connection(of_user(user_id)) as connection:
            scopes = None
            if _KEY_ID.fullmatch(key_id):
                scopes = await store.find_scopes(connection, key_id=key_id, user_id=user_id)
            if scopes is None:
                raise NotFoundError("You have no key with this ID")
            identity.require(scopes)
            await store.revoke(connection, key_id=key_id, user_id=user_id)


def key_id_of(resource_id: UUID) -> str:
    """Return the ID of the key that is created under ``resource_id``."""
    return resource_id.hex[-12:]  # the last 48 bits of a new ID are random


def key_id_in(credential: str) -> str | None:
    """Return the ID of the key that the credential is; ``None``: it is no key."""
    parts = _KEY.fullmatch(credential)
    return parts["key_id"] if parts else None


def unauthenticated(reason: str = "") -> UnauthenticatedError:
    """Return the error for every failed authentication.

    ``reason`` must only be given once the credential's signature was verified.
    """
    return UnauthenticatedError(reason or "Send a valid API key or token as `Authorization: Bearer …`")


def _rate_limit(stored: store.ValidKey) -> KeyRateLimit | None:
    if stored.rate_limit is None or stored.rate_limit_key is None:
        return None
    return KeyRateLimit(stored.rate_limit, stored.rate_limit_key)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _fields(row: store.KeyRow) -> dict[str, Any]:
    return {**asdict(row), "scopes": sorted(parse_scopes(row.scopes))}
