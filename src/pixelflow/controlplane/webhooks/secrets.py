"""The secrets that webhooks are signed with: made, shown once, encrypted at rest, rotated with an overlap.

A secret is never written anywhere but sealed, and never told after its rotation.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from uuid import UUID

import structlog

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, of_user
from pixelflow.contracts.webhooks import SECRET_PREFIX, RotatedSecret
from pixelflow.controlplane.encryption import DecryptionError, SecretCipher
from pixelflow.controlplane.webhooks import secret_store

SECRET_BYTES = 32
"""Standard Webhooks asks for 24 to 64."""
OVERLAP = timedelta(hours=24)
MAX_PREVIOUS = 3
"""Earlier secrets that sign beside the current one, however often a user rotates within the overlap."""

_log = structlog.get_logger(__name__)


class WebhookSecrets:
    """Users' secrets."""

    def __init__(
        self,
        database: AsyncDatabase,
        seal: SecretCipher,
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
            DecryptionError: the settings' key is not the one that they were sealed with.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            sealed = await secret_store.list_valid(connection, user_id) or await self._first(connection, user_id)
        current, *earlier = sealed
        return [_spelt(self._seal.decrypt(current, owner=user_id)), *self._still_open(earlier, user_id)]

    def _still_open(self, earlier: Sequence[bytes], user_id: str) -> Iterator[str]:
        """Without those of another settings' key: whoever changes that key rotates, and the new secret has to sign."""
        for secret in earlier:
            try:
                yield _spelt(self._seal.decrypt(secret, owner=user_id))
            except DecryptionError:
                _log.warning("an earlier webhook secret does not open and is left out", user_id=user_id)

    async def _first(self, connection: AsyncConnection, user_id: str) -> list[bytes]:
        sealed = self._seal.encrypt(self._random_bytes(SECRET_BYTES), owner=user_id)
        async with connection.transaction():
            await secret_store.insert_first(connection, secret_id=self._new_id(), user_id=user_id, sealed=sealed)
        return await secret_store.list_valid(connection, user_id)

    async def rotate(self, user_id: str) -> RotatedSecret:
        """Make a new secret the current one; the one before it signs beside it for a day."""
        secret = self._random_bytes(SECRET_BYTES)
        sealed = self._seal.encrypt(secret, owner=user_id)
        async with self._database.connection(of_user(user_id)) as connection, connection.transaction():
            until = await secret_store.replace(
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
