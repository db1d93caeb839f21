"""SQL of webhooks: the attempts to deliver events, and the secrets that sign them.

The outcome of an attempt counts only while the lease of the event is held
(:mod:`pixelflow.controlplane.webhooks.due_events`) and the event was not replayed meanwhile.
All times come from the dispatcher's clock, except that a replayed event is due by the database's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pixelflow.adapters.postgres.database import AsyncConnection
from pixelflow.controlplane.webhooks.due_events import LeasedEvent

# ── Attempts, for the dispatcher ────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class DeliveryAttempt:
    """A finished attempt to deliver an event."""

    delivery_id: UUID
    started_at: datetime
    latency_ms: int
    outcome: str
    status_code: int | None
    error: dict[str, str] | None
    response_excerpt: str | None
    next_attempt_at: datetime | None
    """``None``: no further attempt."""


async def record_attempt(connection: AsyncConnection, event: LeasedEvent, attempt: DeliveryAttempt) -> bool:
    """Insert an attempt and update its event, in one statement; returns whether the attempt counted for the event.

    It does not count if the lease was lost, because another dispatcher holds the event, or if the event was replayed
    during the attempt: then the event is released, and still due. The attempt is inserted either way, unless the event
    has been erased; the lock makes that safe against a concurrent erasure.
    """
    cursor = await connection.execute(
        """
        WITH existing AS (
            SELECT event_id, user_id FROM events WHERE event_id = %(event_id)s FOR UPDATE
        ), moved AS (
            UPDATE events
            SET lease_until = NULL,
                attempts = CASE WHEN generation = %(generation)s THEN attempts + 1 ELSE attempts END,
                status = CASE WHEN generation <> %(generation)s OR %(outcome)s = 'retried' THEN 'pending'
                              ELSE %(outcome)s END,
                next_attempt_at = CASE WHEN generation = %(generation)s
                                       THEN coalesce(%(next_attempt_at)s, next_attempt_at) ELSE next_attempt_at END
            FROM existing
            WHERE events.event_id = existing.event_id AND lease_until = %(lease_until)s
            RETURNING generation = %(generation)s AS counts
        ), inserted AS (
            INSERT INTO deliveries (delivery_id, event_id, user_id, attempt, started_at, latency_ms, outcome,
                                    status_code, error, response_excerpt)
            SELECT %(delivery_id)s, event_id, user_id, %(attempt)s, %(started_at)s, %(latency_ms)s, %(outcome)s,
                   %(status_code)s, %(error)s, %(response_excerpt)s
            FROM existing
        )
        SELECT counts FROM moved
        """,
        {
            **vars(attempt),
            "error": Jsonb(attempt.error) if attempt.error else None,
            "event_id": event.event_id,
            "generation": event.generation,
            "lease_until": event.lease_until,
            "attempt": event.attempts + 1,
        },
    )
    row = await cursor.fetchone()
    return row is not None and row["counts"]


async def refuse(connection: AsyncConnection, event: LeasedEvent) -> None:
    """End an event whose endpoint is disabled or deleted, without an attempt; has no effect if its lease was lost."""
    await connection.execute(
        """
        UPDATE events SET status = 'refused', lease_until = NULL
        WHERE event_id = %(event_id)s AND lease_until = %(lease_until)s AND generation = %(generation)s
        """,
        {"event_id": event.event_id, "lease_until": event.lease_until, "generation": event.generation},
    )


async def delete_event(connection: AsyncConnection, event_id: str) -> None:
    """Delete an event whose job was erased, or whose batch was deleted."""
    await connection.execute("DELETE FROM events WHERE event_id = %s", (event_id,))


# ── Deliveries, for their owner ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class DeliveryRow:
    """A finished attempt, with the time of its event's next one."""

    delivery_id: UUID
    event_id: str
    endpoint_id: UUID | None
    type: str
    attempt: int
    started_at: datetime
    latency_ms: int
    outcome: str
    status_code: int | None
    error: dict[str, Any] | None
    response_excerpt: str | None
    next_attempt_at: datetime | None


async def list_deliveries(
    connection: AsyncConnection, *, job_id: UUID, user_id: str, limit: int
) -> list[DeliveryRow] | None:
    """Return the newest attempts for the events of the user's job, newest first; ``None`` if there is no such job."""
    cursor = await connection.execute(
        """
        SELECT delivery_id, deliveries.event_id, endpoint_id, type, attempt, deliveries.started_at, latency_ms,
               outcome, status_code, deliveries.error, response_excerpt,
               CASE events.status WHEN 'pending' THEN next_attempt_at END AS next_attempt_at
        FROM jobs
        LEFT JOIN (events JOIN deliveries ON deliveries.event_id = events.event_id) ON events.job_id = jobs.job_id
        WHERE jobs.job_id = %(job_id)s AND jobs.user_id = %(user_id)s AND jobs.erased_at IS NULL
        ORDER BY deliveries.started_at DESC, delivery_id DESC
        LIMIT %(limit)s
        """,
        {"job_id": job_id, "user_id": user_id, "limit": limit},
    )
    return _deliveries(await cursor.fetchall())


async def list_batch_deliveries(
    connection: AsyncConnection, *, batch_id: UUID, user_id: str, limit: int
) -> list[DeliveryRow] | None:
    """Return the newest attempts for the events of the user's batch, newest first; ``None`` if there is no such one."""
    cursor = await connection.execute(
        """
        SELECT delivery_id, events.event_id, endpoint_id, type, attempt, started_at, latency_ms, outcome, status_code,
               error, response_excerpt, CASE events.status WHEN 'pending' THEN next_attempt_at END AS next_attempt_at
        FROM batches
        LEFT JOIN (events JOIN deliveries ON deliveries.event_id = events.event_id)
               ON events.batch_id = batches.batch_id
        WHERE batches.batch_id = %(batch_id)s AND batches.user_id = %(user_id)s
        ORDER BY started_at DESC NULLS LAST, delivery_id DESC
        LIMIT %(limit)s
        """,
        {"batch_id": batch_id, "user_id": user_id, "limit": limit},
    )
    return _deliveries(await cursor.fetchall())


async def list_endpoint_deliveries(
    connection: AsyncConnection, *, endpoint_id: UUID, user_id: str, limit: int
) -> list[DeliveryRow] | None:
    """Return the newest attempts for the newest ``limit`` events of the user's endpoint; ``None`` if there is none."""
    cursor = await connection.execute(
        """
        SELECT delivery_id, deliveries.event_id, endpoints.endpoint_id, type, attempt, started_at, latency_ms,
               outcome, status_code, error, response_excerpt,
               CASE newest.status WHEN 'pending' THEN next_attempt_at END AS next_attempt_at
        FROM webhook_endpoints AS endpoints
        LEFT JOIN LATERAL (
            SELECT event_id, type, status, next_attempt_at FROM events
            WHERE endpoint_id = endpoints.endpoint_id AND user_id = %(user_id)s
            ORDER BY created_at DESC LIMIT %(limit)s
        ) AS newest ON true
        LEFT JOIN deliveries ON deliveries.event_id = newest.event_id
        WHERE endpoints.endpoint_id = %(endpoint_id)s AND endpoints.user_id = %(user_id)s
        ORDER BY started_at DESC NULLS LAST, delivery_id DESC
        LIMIT %(limit)s
        """,
        {"endpoint_id": endpoint_id, "user_id": user_id, "limit": limit},
    )
    return _deliveries(await cursor.fetchall())


def _deliveries(rows: Sequence[dict[str, Any]]) -> list[DeliveryRow] | None:
    """A subject without deliveries has one row without values; one that does not exist has no row."""
    if not rows:
        return None
    return [DeliveryRow(**row) for row in rows if row["delivery_id"] is not None]


@dataclass(frozen=True)
class ReplayedRow:
    """An event that was made due again."""

    event_id: str
    job_id: UUID | None
    batch_id: UUID | None
    type: str
    status: str
    next_attempt_at: datetime


class Receiver(Enum):
    """Why nothing can be sent to the receiver of an event."""

    DISABLED = "disabled"
    DELETED = "deleted"


async def replay_event(
    connection: AsyncConnection, *, delivery_id: UUID, user_id: str
) -> ReplayedRow | Receiver | None:
    """Make the event of the user's delivery due now, with a new schedule; ``None`` if there is no such delivery.

    Changes nothing if the event's endpoint is disabled or deleted. An attempt in progress continues, keeps its lease
    and is recorded, but does not change the event, which is due when that attempt ends.
    """
    cursor = await connection.execute(
        """
        WITH found AS (
            SELECT events.event_id, CASE WHEN events.endpoint_id IS NULL OR endpoints.enabled THEN 'ready'
                                         WHEN endpoints.endpoint_id IS NULL THEN 'deleted'
                                         ELSE 'disabled' END AS receiver
            FROM deliveries
            JOIN events ON events.event_id = deliveries.event_id AND events.user_id = deliveries.user_id
            LEFT JOIN jobs ON jobs.job_id = events.job_id AND jobs.user_id = events.user_id AND jobs.erased_at IS NULL
            LEFT JOIN webhook_endpoints AS endpoints
                 ON endpoints.endpoint_id = events.endpoint_id AND endpoints.user_id = events.user_id
            WHERE deliveries.delivery_id = %(delivery_id)s AND deliveries.user_id = %(user_id)s
              AND coalesce(jobs.job_id, events.batch_id) IS NOT NULL
        ), replayed AS (
            UPDATE events SET status = 'pending', attempts = 0, next_attempt_at = now(), generation = generation + 1
            FROM found WHERE events.event_id = found.event_id AND receiver = 'ready'
            RETURNING events.event_id, events.job_id, events.batch_id, type, events.status, next_attempt_at
        )
        SELECT receiver, replayed.* FROM found LEFT JOIN replayed ON true
        """,
        {"delivery_id": delivery_id, "user_id": user_id},
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    receiver = row.pop("receiver")
    if receiver != "ready":
        return Receiver(receiver)
    return ReplayedRow(**row) if row["event_id"] else None  # None: erased at this moment


# ── Secrets ──────────────────────────────────────────────────────────────────────────────────────

_SECRETS_LOCK = 0x5748  # «WH»; with the hash of the user ID, one advisory lock per user


async def list_valid_secrets(connection: AsyncConnection, user_id: str) -> list[bytes]:
    """Return the user's encrypted secrets that are valid now, the current one first."""
    cursor = await connection.execute(
        """
        SELECT ciphertext FROM webhook_secrets WHERE user_id = %s AND (valid_until IS NULL OR valid_until > now())
        ORDER BY valid_until DESC NULLS FIRST
        """,
        (user_id,),
    )
    return [row["ciphertext"] for row in await cursor.fetchall()]


async def insert_first_secret(connection: AsyncConnection, *, secret_id: UUID, user_id: str, ciphertext: bytes) -> None:
    """Insert an encrypted secret that nobody has seen, unless the user has a current one. Must run in a transaction."""
    await _lock_secrets(connection, user_id)
    await connection.execute(
        """
        INSERT INTO webhook_secrets (secret_id, user_id, ciphertext, shown) VALUES (%s, %s, %s, false)
        ON CONFLICT (user_id) WHERE valid_until IS NULL DO NOTHING
        """,
        (secret_id, user_id, ciphertext),
    )


async def mark_shown(connection: AsyncConnection, user_id: str) -> bytes | None:
    """Return the user's current secret, encrypted, the first time; ``None`` if it was shown before, or there is none.

    Must run in a transaction.
    """
    await _lock_secrets(connection, user_id)
    cursor = await connection.execute(
        """
        UPDATE webhook_secrets SET shown = true WHERE user_id = %s AND valid_until IS NULL AND NOT shown
        RETURNING ciphertext
        """,
        (user_id,),
    )
    row = await cursor.fetchone()
    return row["ciphertext"] if row else None


async def replace_secret(
    connection: AsyncConnection, *, secret_id: UUID, user_id: str, ciphertext: bytes, overlap: timedelta, keep: int
) -> datetime | None:
    """Make ``ciphertext`` the user's current secret; returns until when the previous one is valid, if there was one.

    Args:
        connection: in a transaction.
        secret_id: ID of the new secret.
        user_id: the owner.
        ciphertext: the encrypted secret.
        overlap: how long the previous secret stays valid.
        keep: how many previous secrets may stay valid; older ones are deleted.
    """
    await _lock_secrets(connection, user_id)
    await connection.execute(
        """
        DELETE FROM webhook_secrets WHERE user_id = %(user_id)s AND valid_until IS NOT NULL AND secret_id NOT IN (
            SELECT secret_id FROM webhook_secrets WHERE user_id = %(user_id)s AND valid_until > now()
            ORDER BY valid_until DESC LIMIT %(others)s)
        """,
        {"user_id": user_id, "others": keep - 1},
    )
    cursor = await connection.execute(
        """
        UPDATE webhook_secrets SET valid_until = now() + %(overlap)s
        WHERE user_id = %(user_id)s AND valid_until IS NULL
        RETURNING valid_until
        """,
        {"user_id": user_id, "overlap": overlap},
    )
    row = await cursor.fetchone()
    await connection.execute(
        "INSERT INTO webhook_secrets (secret_id, user_id, ciphertext) VALUES (%s, %s, %s)",
        (secret_id, user_id, ciphertext),
    )
    return row["valid_until"] if row else None


async def _lock_secrets(connection: AsyncConnection, user_id: str) -> None:
    """Make concurrent writers of one user's secrets wait for each other."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_SECRETS_LOCK, user_id))
