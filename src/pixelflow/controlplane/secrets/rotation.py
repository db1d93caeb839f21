"""Re-encrypts all stored values with the first key of ``PIXELFLOW_SECRETS_KEY``, while the service runs.

Works in batches of one statement each. If it is interrupted, the next run finds what is left. A value that changed
since it was read is not replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pixelflow.adapters.postgres.database import EVERYONE, AsyncConnection, AsyncDatabase
from pixelflow.controlplane.encryption import (
    DecryptionError,
    SecretCipher,
    response_cipher,
    response_owner,
    webhook_cipher,
)
from pixelflow.controlplane.secrets import store
from pixelflow.controlplane.secrets.store import EncryptedResponse, EncryptedSecret

BATCH = 200


@dataclass
class RotatedValues:
    """What a run did with one kind of values."""

    re_encrypted: int = 0
    unreadable: int = 0
    """Values that none of the keys decrypts, which were left as they are."""


class _Encrypted(Protocol):
    @property
    def ciphertext(self) -> bytes: ...


_T = TypeVar("_T", bound=_Encrypted)


@dataclass(frozen=True)
class _Kind(Generic[_T]):
    """A kind of values: how they are encrypted, and where they are stored."""

    cipher: SecretCipher
    owner_of: Callable[[_T], str]
    read: Callable[[AsyncConnection, _T | None], Awaitable[list[_T]]]
    """Returns the next values of other keys after one of them."""
    replace: Callable[[AsyncConnection, Sequence[tuple[_T, bytes]]], Awaitable[int]]


def rotate(database_url: str, keys: Sequence[bytes], *, batch: int = BATCH) -> tuple[RotatedValues, RotatedValues]:
    """Re-encrypt webhook secrets and stored responses; returns what was done with each.

    Idempotent: values of the first key are skipped.

    Args:
        database_url: the database that stores the values.
        keys: of the settings; the first encrypts.
        batch: values per statement.

    Raises:
        StoreUnavailableError: the database is not available; what was done before stays done.
    """
    return asyncio.run(_rotate(database_url, keys, batch))


async def _rotate(database_url: str, keys: Sequence[bytes], batch: int) -> tuple[RotatedValues, RotatedValues]:
    async with AsyncDatabase(
        database_url, max_connections=1, application="pixelflow-cli", scope=EVERYONE, prepare=False
    ) as database:
        return (
            await _rotate_kind(database, _secrets(webhook_cipher(keys), batch)),
            await _rotate_kind(database, _responses(response_cipher(keys), batch)),
        )


def _secrets(cipher: SecretCipher, batch: int) -> _Kind[EncryptedSecret]:
    return _Kind(
        cipher,
        lambda secret: secret.user_id,
        lambda connection, after: store.list_secrets(connection, header=cipher.header, after=after, limit=batch),
        store.replace_secrets,
    )


def _responses(cipher: SecretCipher, batch: int) -> _Kind[EncryptedResponse]:
    return _Kind(
        cipher,
        lambda response: response_owner(response.user_id, response.key),
        lambda connection, after: store.list_responses(connection, header=cipher.header, after=after, limit=batch),
        store.replace_responses,
    )


async def _rotate_kind(database: AsyncDatabase, kind: _Kind[_T]) -> RotatedValues:
    done, after = RotatedValues(), None
    while True:
        async with database.connection() as connection:
            values = await kind.read(connection, after)
            if not values:
                return done
            changed = list(_re_encrypt(kind, values))
            done.re_encrypted += await kind.replace(connection, changed)
            done.unreadable += len(values) - len(changed)
        after = values[-1]


def _re_encrypt(kind: _Kind[_T], values: Sequence[_T]) -> Iterator[tuple[_T, bytes]]:
    for value in values:
        owner = kind.owner_of(value)
        try:
            secret = kind.cipher.decrypt(value.ciphertext, owner=owner)
        except DecryptionError:
            continue
        yield value, kind.cipher.encrypt(secret, owner=owner)
