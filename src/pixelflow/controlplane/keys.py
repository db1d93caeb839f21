"""API keys: made, shown once, kept as a hash, and recognised again.

A key is ``pf_<key_id>_<secret>``. The secret has 192 random bits, so a plain SHA-256 keeps it; slow hashes are for
passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from pixelflow.adapters.store import keys
from pixelflow.adapters.store.database import AsyncDatabase
from pixelflow.contracts.problems import UnauthenticatedError

_PREFIX = "pf"
_REFUSAL = "Send a valid API key as `Authorization: Bearer pf_…`"


@dataclass(frozen=True)
class Identity:
    """Who is asking, as far as the key says."""

    user_id: str


async def issue_key(database: AsyncDatabase, *, user_id: str, name: str) -> str:
    """Make a key for ``user_id`` and return it; it can't be shown again."""
    key_id, secret = secrets.token_hex(6), secrets.token_hex(24)
    async with database.connection() as connection:
        await keys.insert(connection, key_id=key_id, user_id=user_id, name=name, secret_hash=_hash(secret))
    return f"{_PREFIX}_{key_id}_{secret}"


async def recognise(database: AsyncDatabase, key: str) -> Identity:
    """Whose key this is.

    Raises:
        UnauthenticatedError: nobody's; it does not say whether the key is unknown, wrong, expired or revoked.
    """
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != _PREFIX or not key_id.isalnum() or not key_id.isascii() or not secret:
        raise UnauthenticatedError(_REFUSAL)
    async with database.connection() as connection:
        stored = await keys.find(connection, key_id)
    if stored is None or not hmac.compare_digest(stored.secret_hash, _hash(secret)) or not _is_valid(stored):
        raise UnauthenticatedError(_REFUSAL)
    return Identity(user_id=stored.user_id)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _is_valid(stored: keys.StoredKey) -> bool:
    expired = stored.expires_at is not None and stored.expires_at <= datetime.now(UTC)
    return stored.revoked_at is None and not expired
