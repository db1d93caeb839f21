"""The same request under the same ``Idempotency-Key`` is done once, and answered as often as it is asked.

Holds through crashes: what a request creates gets its id from the key's row, which is there before anything is created.
So whoever does a lost request again finds what the first one made. Knows no HTTP.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.contracts.errors import (
    IdempotencyAnswerLostError,
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
    NotFoundError,
)
from pixelflow.controlplane.encryption import DecryptionError, SecretCipher
from pixelflow.controlplane.idempotency import store

KEEP = timedelta(hours=24)
LEASE = timedelta(seconds=20)
"""Longer than a request takes: whoever is silent for so long has died."""


@dataclass(frozen=True)
class IdempotentRequest:
    """A request under a key."""

    user_id: str
    key: str
    fingerprint: bytes
    """The same for the same request, and no other."""
    job_id: UUID | None = None
    """The job that the answer will tell of."""
    creates_job: bool = False
    """Whether it will tell of the one that the request creates."""


@dataclass(frozen=True)
class Claim:
    """The request is to be done, creating what it creates under ``resource_id``."""

    resource_id: UUID
    holder: UUID


@dataclass(frozen=True)
class StoredResponse:
    """What the request was answered with."""

    status: int
    body: bytes = field(repr=False)


class Idempotency:
    """Keeps what was asked and answered."""

    def __init__(
        self,
        database: AsyncDatabase,
        secrets_key: bytes,
        *,
        new_id: Callable[[], UUID],
        lease: timedelta = LEASE,
        keep: timedelta = KEEP,
    ) -> None:
        self._database = database
        # Answers can hold secrets that are shown once. A key of their own: none opens what the other has sealed.
        self._seal = SecretCipher(hmac.digest(secrets_key, b"pixelflow idempotency answers", "sha256"))
        self.new_id = new_id
        self._lease = lease
        self._keep = keep

    async def begin(self, asked: IdempotentRequest) -> Claim | StoredResponse:
        """Claim the key, or learn the answer that there is.

        Raises:
            IdempotencyKeyReusedError: the key belongs to another request.
            IdempotencyInProgressError: the same request is still being done.
            NotFoundError: it was done, and the job that it was about has been erased since.
        """
        holder, resource_id = self.new_id(), self.new_id()
        async with self._database.connection(of_user(asked.user_id)) as connection:
            claimed = await store.claim(
                connection,
                user_id=asked.user_id,
                key=asked.key,
                fingerprint=asked.fingerprint,
                job_id=resource_id if asked.creates_job else asked.job_id,
                resource_id=resource_id,
                holder=holder,
                lease=self._lease,
                keep=self._keep,
            )
            if claimed is not None:
                return Claim(claimed.resource_id, holder)
            kept = await store.find(connection, user_id=asked.user_id, key=asked.key)
        return self._answer(asked, kept)

    def _answer(self, asked: IdempotentRequest, kept: store.Kept | None) -> StoredResponse:
        if kept is not None and kept.fingerprint != asked.fingerprint:
            raise IdempotencyKeyReusedError("Take a new key: this one was sent with another body or to another route")
        if kept is not None and kept.job_erased:
            raise NotFoundError("The job that this request was about has been erased")
        if kept is None or kept.status is None or kept.sealed is None:
            raise IdempotencyInProgressError("Send the same request again shortly, to get its answer")
        try:
            return StoredResponse(kept.status, self._seal.open(kept.sealed, owner=_bound_to(asked)))
        except DecryptionError as error:
            raise IdempotencyAnswerLostError("PixelFlow's own key was changed since; ask for what was made") from error

    async def finish(self, asked: IdempotentRequest, begun: Claim, answer: StoredResponse) -> None:
        """Keep the answer."""
        async with self._database.connection(of_user(asked.user_id)) as connection:
            await store.finish(
                connection,
                user_id=asked.user_id,
                key=asked.key,
                holder=begun.holder,
                status=answer.status,
                sealed=self._seal.close(answer.body, owner=_bound_to(asked)),
            )

    async def release(self, asked: IdempotentRequest, begun: Claim) -> None:
        """There is no answer to keep: let the next one try at once."""
        async with self._database.connection(of_user(asked.user_id)) as connection:
            await store.release(connection, user_id=asked.user_id, key=asked.key, holder=begun.holder)


def _bound_to(asked: IdempotentRequest) -> str:
    return f"{asked.key} {asked.user_id}"  # a key holds no space
