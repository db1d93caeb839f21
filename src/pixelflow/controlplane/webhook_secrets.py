"""The secrets that webhooks are signed with: made, shown once, encrypted at rest, rotated with an overlap.

A secret is never written anywhere but sealed, and never told after its rotation.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pixelflow.adapters.store import webhook_secrets
from pixelflow.adapters.store.database import AsyncConnection, AsyncDatabase, of_user
from pixelflow.contracts.events import SECRET_PREFIX, RotatedSecret

SECRET_BYTES = 32
"""Standard Webhooks asks for 24 to 64."""
OVERLAP = timedelta(hours=24)
MAX_PREVIOUS = 3
"""Earlier secrets that sign beside the current one, however often a user rotates within the overlap."""
_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
"""AES-GCM's (NIST SP 800-38D); drawn at random, which is safe for 2³² secrets under one key."""


class UnsealingError(Exception):
    """A stored secret does not open: PIXELFLOW_SECRETS_KEY is not the key that it was sealed with."""


class Seal:
    """AES-256-GCM, bound to the user: version (1 byte), key id (4), nonce (12), ciphertext and tag.

    The key id, the beginning of the key's SHA-256, tells which key a secret needs when keys are changed.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._head = _VERSION + hashlib.sha256(b"pixelflow key id" + key).digest()[:_KEY_ID_BYTES]

    def close(self, secret: bytes, *, user_id: str) -> bytes:
        """Encrypt ``secret`` for the database."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._head + nonce + self._cipher.encrypt(nonce, secret, self._bound_to(user_id))

    def open(self, sealed: bytes, *, user_id: str) -> bytes:
        """What was sealed for the user.

        Raises:
            UnsealingError: with another key, for another user, or changed since.
        """
        head, rest = sealed[: len(self._head)], sealed[len(self._head) :]
        if head != self._head:
            raise UnsealingError("The webhook secret was sealed with another key")
        try:
            return self._cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], self._bound_to(user_id))
        except (InvalidTag, ValueError) as error:  # ValueError: a stump
            raise UnsealingError("The webhook secret is not what was sealed for this user") from error

    def _bound_to(self, user_id: str) -> bytes:
        return self._head + user_id.encode()


class WebhookSecrets:
    """Users' secrets."""

    def __init__(
        self,
        database: AsyncDatabase,
        seal: Seal,
        *,
        new_id: Callable[[], UUID],
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._database = database
        self._seal = seal
        self._new_id = new_id
        self._random_bytes = random_bytes

    async def valid(self, user_id: str) -> list[str]:
        """The secrets that the user's webhooks are signed with now, the current one first; made if there is none.

        Raises:
            UnsealingError: the settings' key is not the one that they were sealed with.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            sealed = await webhook_secrets.list_valid(connection, user_id) or await self._first(connection, user_id)
        return [_spelt(self._seal.open(secret, user_id=user_id)) for secret in sealed]

    async def _first(self, connection: AsyncConnection, user_id: str) -> list[bytes]:
        sealed = self._seal.close(self._random_bytes(SECRET_BYTES), user_id=user_id)
        async with connection.transaction():
            await webhook_secrets.insert_first(connection, secret_id=self._new_id(), user_id=user_id, sealed=sealed)
        return await webhook_secrets.list_valid(connection, user_id)

    async def rotate(self, user_id: str) -> RotatedSecret:
        """Make a new secret the current one; the one before it signs beside it for a day."""
        secret = self._random_bytes(SECRET_BYTES)
        sealed = self._seal.close(secret, user_id=user_id)
        async with self._database.connection(of_user(user_id)) as connection, connection.transaction():
            until = await webhook_secrets.replace(
                connection,
                secret_id=self._new_id(),
                user_id=user_id,
                sealed=sealed,
                overlap=OVERLAP,
                keep=MAX_PREVIOUS,
            )
        return RotatedSecret(secret=_spelt(secret), previous_valid_until=until)


def _spelt(secret: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(secret).decode()
