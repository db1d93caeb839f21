"""Use cases of webhooks: list deliveries, replay an event, create and rotate the secret, get those that sign.

Secrets are encrypted at rest. A secret is never written in plain text, and never returned after its rotation.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from uuid import UUID

import structlog

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, of_user
from pixelflow.contracts.webhook_endpoints import WebhookSecret
from pixelflow.contracts.webhooks import (
    SECRET_PREFIX,
    Delivery,
    DeliveryError,
    DeliveryList,
    ReplayedEvent,
    RotatedSecret,
)
from pixelflow.controlplane.batches.queries import batch_not_found
from pixelflow.controlplane.encryption import DecryptionError, SecretCipher
from pixelflow.controlplane.jobs.queries import job_not_found
from pixelflow.controlplane.webhook_endpoints.service import endpoint_not_found
from pixelflow.controlplane.webhooks import store
from pixelflow.controlplane.webhooks.store import Receiver
from pixelflow.errors import NotFoundError, WebhookEndpointDisabledError, WebhookSecretExistsError

MAX_LISTED = 100
SECRET_BYTES = 32
"""Standard Webhooks requires 24 to 64."""
OVERLAP = timedelta(hours=24)
"""How long the previous secret signs beside a new one."""
MAX_PREVIOUS = 3
"""Previous secrets that sign beside the current one, however often a user rotates within the overlap."""

_log = structlog.get_logger(__name__)


class WebhookService:
    """The deliveries and secrets of one user. ``user_id`` comes from the authenticated credentials."""

    def __init__(
        self,
        database: AsyncDatabase,
        cipher: SecretCipher,
        *,
        new_id: Callable[[], UUID],
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._database = database
        self._cipher = cipher
        self._new_id = new_id
        self._random_bytes = random_bytes

    # ── Deliveries ───────────────────────────────────────────────────────────────────────────────

    async def list_deliveries(self, user_id: str, job_id: UUID) -> DeliveryList:
        """Return the newest attempts to deliver the job's events, newest first.

        Raises:
            NotFoundError: the user has no such job.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await store.list_deliveries(connection, job_id=job_id, user_id=user_id, limit=MAX_LISTED)
        if rows is None:
            raise job_not_found()
        return DeliveryList(data=[_to_response(row) for row in rows])

    async def list_batch_deliveries(self, user_id: str, batch_id: UUID) -> DeliveryList:
        """Return the newest attempts to deliver the batch's events, newest first.

        Raises:
            NotFoundError: the user has no such batch.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await store.list_batch_deliveries(connection, batch_id=batch_id, user_id=user_id, limit=MAX_LISTED)
        if rows is None:
            raise batch_not_found()
        return DeliveryList(data=[_to_response(row) for row in rows])

    async def list_endpoint_deliveries(self, user_id: str, endpoint_id: UUID) -> DeliveryList:
        """Return the newest attempts to deliver the newest events of an endpoint, newest first.

        Raises:
            NotFoundError: the user has no such endpoint.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await store.list_endpoint_deliveries(
                connection, endpoint_id=endpoint_id, user_id=user_id, limit=MAX_LISTED
            )
        if rows is None:
            raise endpoint_not_found()
        return DeliveryList(data=[_to_response(row) for row in rows])

    async def replay(self, user_id: str, delivery_id: UUID) -> ReplayedEvent:
        """Make the delivery's event due immediately, with the same event ID and a new retry schedule.

        Raises:
            NotFoundError: the user has no such delivery, or deleted the endpoint of its event.
            WebhookEndpointDisabledError: the endpoint of its event is disabled.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            row = await store.replay_event(connection, delivery_id=delivery_id, user_id=user_id)
        if row is None:
            raise NotFoundError("You have no delivery with this ID")
        if row is Receiver.DELETED:
            raise NotFoundError("The webhook endpoint of this delivery was deleted; its event can't be sent again")
        if row is Receiver.DISABLED:
            raise WebhookEndpointDisabledError(
                "The webhook endpoint of this delivery is disabled; enable it, then replay"
            )
        return ReplayedEvent(
            event_id=row.event_id,
            job_id=row.job_id,
            batch_id=row.batch_id,
            type=row.type,
            next_attempt_at=row.next_attempt_at,
        )

    # ── Secrets ──────────────────────────────────────────────────────────────────────────────────

    async def signing_secrets(self, user_id: str) -> list[str]:
        """Return the secrets to sign the user's webhooks with, the current one first. Creates the first secret.

        Raises:
            DecryptionError: the current secret was encrypted with another PIXELFLOW_SECRETS_KEY.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            ciphertexts = await store.list_valid_secrets(connection, user_id) or await self._create_first(
                connection, user_id
            )
        current, *previous = ciphertexts
        return [_encode(self._cipher.decrypt(current, owner=user_id)), *self._decryptable(previous, user_id)]

    def _decryptable(self, previous: Sequence[bytes], user_id: str) -> Iterator[str]:
        """Skip secrets of an earlier PIXELFLOW_SECRETS_KEY: after that key was changed, the new secret must sign."""
        for ciphertext in previous:
            try:
                yield _encode(self._cipher.decrypt(ciphertext, owner=user_id))
            except DecryptionError:
                _log.warning("previous webhook secret skipped: it can't be decrypted", user_id=user_id)

    async def _create_first(self, connection: AsyncConnection, user_id: str) -> list[bytes]:
        ciphertext = self._cipher.encrypt(self._random_bytes(SECRET_BYTES), owner=user_id)
        async with connection.transaction():
            await store.insert_first_secret(
                connection, secret_id=self._new_id(), user_id=user_id, ciphertext=ciphertext
            )
        return await store.list_valid_secrets(connection, user_id)

    async def create_secret(self, user_id: str) -> WebhookSecret:
        """Return the secret that signs the user's webhooks, the first time that it is asked for. Creates it if needed.

        Raises:
            WebhookSecretExistsError: it was shown before.
            DecryptionError: it was encrypted with another PIXELFLOW_SECRETS_KEY.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            if not await store.list_valid_secrets(connection, user_id):
                await self._create_first(connection, user_id)
            async with connection.transaction():
                ciphertext = await store.mark_shown(connection, user_id)
                if ciphertext is None:
                    raise WebhookSecretExistsError(
                        "You have a webhook secret, which was shown before; `pixelflow webhook rotate-secret`, or "
                        "POST /v1/webhook-secret/rotate, replaces it"
                    )
                return WebhookSecret(secret=_encode(self._cipher.decrypt(ciphertext, owner=user_id)))

    async def rotate_secret(self, user_id: str) -> RotatedSecret:
        """Create a new current secret; the previous one stays valid for ``OVERLAP``."""
        secret = self._random_bytes(SECRET_BYTES)
        ciphertext = self._cipher.encrypt(secret, owner=user_id)
        async with self._database.connection(of_user(user_id)) as connection, connection.transaction():
            valid_until = await store.replace_secret(
                connection,
                secret_id=self._new_id(),
                user_id=user_id,
                ciphertext=ciphertext,
                overlap=OVERLAP,
                keep=MAX_PREVIOUS,
            )
        return RotatedSecret(secret=_encode(secret), previous_valid_until=valid_until)


def _to_response(row: store.DeliveryRow) -> Delivery:
    return Delivery(
        delivery_id=row.delivery_id,
        event_id=row.event_id,
        endpoint_id=row.endpoint_id,
        type=row.type,
        attempt=row.attempt,
        outcome=row.outcome,
        status_code=row.status_code,
        error=DeliveryError(**row.error) if row.error else None,
        latency_ms=row.latency_ms,
        response_excerpt=row.response_excerpt,
        started_at=row.started_at,
        next_attempt_at=row.next_attempt_at,
    )


def _encode(secret: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(secret).decode()
