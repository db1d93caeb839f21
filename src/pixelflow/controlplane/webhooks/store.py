"""Events on their way to their receivers.

A courier holds one by a lease; its outcome counts only while it does, and only if the event was not replayed meanwhile.
All times come from the courier's clock, except that a replay is due by the database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.types.json import Jsonb

from pixelflow.adapters.postgres.database import AsyncConnection


@dataclass(frozen=True)
class LeasedEvent:
    """An event in a courier's hands until ``lease_until``. Its outcome is fenced by that, and by ``generation``."""

    event_id: str
    job_id: UUID
    user_id: str
    type: str
    url: str
    created_at: datetime
    tries: int
    """Made before this one."""
    generation: int
    """How often it was replayed."""
    lease_until: datetime
    traceparent: str | None


PILE = 500
"""So many due events may be of hosts and users at their bounds, and hide what is due behind them."""


@dataclass(frozen=True)
class DeliveryLimits:
    """How many events may be in couriers' hands at once."""

    per_host: int
    per_user: int


async def take_due(
    connection: AsyncConnection, *, now: datetime, lease: timedelta, bounds: DeliveryLimits, limit: int
) -> list[LeasedEvent]:
    """Take due events, the longest due first, of hosts and users that are below their bounds.

    Looks at the hosts of what has been due the longest. Where that is a pile, it visits each host that has something
    pending through the index instead, so that the pile is no obstacle to the others («loose index scan», PostgreSQL
    wiki). Couriers that take at the same moment may exceed a bound by what each of them takes.
    """
    cursor = await connection.execute(
        """
        WITH RECURSIVE longest_due AS (
            SELECT host FROM events WHERE status = 'pending' AND next_try_at <= %(now)s
            ORDER BY next_try_at LIMIT %(pile)s
        ), every_host AS (
            (SELECT host FROM events WHERE status = 'pending' AND (SELECT count(*) FROM longest_due) = %(pile)s
             ORDER BY host LIMIT 1)
            UNION ALL
            SELECT (SELECT events.host FROM events
                    WHERE status = 'pending' AND events.host > every_host.host ORDER BY events.host LIMIT 1)
            FROM every_host WHERE every_host.host IS NOT NULL
        ), hosts AS (
            SELECT host FROM longest_due UNION SELECT host FROM every_host
        ), held AS (
            SELECT host, user_id, count(*) AS count FROM events WHERE lease_until > %(now)s GROUP BY host, user_id
        ), at_bound AS (
            SELECT user_id FROM held GROUP BY user_id HAVING sum(count) >= %(per_user)s
        ), due AS (
            SELECT candidate.event_id, candidate.user_id, candidate.next_try_at
            FROM hosts CROSS JOIN LATERAL (
                SELECT event_id, user_id, next_try_at FROM events
                WHERE status = 'pending' AND events.host = hosts.host AND next_try_at <= %(now)s
                  AND (lease_until IS NULL OR lease_until <= %(now)s)
                  -- Here, before a host's places are given out: who may have none must not keep them from others.
                  AND user_id NOT IN (SELECT user_id FROM at_bound)
                ORDER BY next_try_at
                LIMIT greatest(0, %(per_host)s - (SELECT coalesce(sum(held.count), 0)
                                                  FROM held WHERE held.host = hosts.host))
                FOR UPDATE SKIP LOCKED
            ) AS candidate
        ), ranked AS (
            SELECT event_id, next_try_at, user_id, row_number() OVER (PARTITION BY user_id ORDER BY next_try_at) AS rank
            FROM due
        ), chosen AS (
            SELECT event_id FROM ranked
            WHERE rank + (SELECT coalesce(sum(held.count), 0) FROM held WHERE held.user_id = ranked.user_id)
                  <= %(per_user)s
            ORDER BY next_try_at
            LIMIT %(limit)s
        )
        UPDATE events SET lease_until = %(lease_until)s
        FROM chosen, jobs WHERE events.event_id = chosen.event_id AND jobs.job_id = events.job_id
        RETURNING events.event_id, events.job_id, events.user_id, type, url, events.created_at, tries,
                  generation, events.lease_until, traceparent
        """,
        {
            "now": now,
            "lease_until": now + lease,
            "per_host": bounds.per_host,
            "per_user": bounds.per_user,
            "limit": limit,
            "pile": PILE,
        },
    )
    return [LeasedEvent(**row) for row in await cursor.fetchall()]


@dataclass(frozen=True)
class DeliveryAttempt:
    """One try at delivering an event, and what it came to."""

    delivery_id: UUID
    started_at: datetime
    latency_ms: int
    outcome: str
    status_code: int | None
    error: dict[str, str] | None
    response_excerpt: str | None
    next_try_at: datetime | None
    """None: there is no further try."""


async def record(connection: AsyncConnection, event: LeasedEvent, made: DeliveryAttempt) -> bool:
    """Keep a try, and move its event on, in one statement. False: the event did not move by it.

    That is so when the lease was lost: the event is somebody else's. Or when the event was replayed during the try: it
    is let go, and due again. The try is kept either way, it was made; unless the event has been erased, perhaps in this
    moment: hence the lock.
    """
    cursor = await connection.execute(
        """
        WITH still_there AS (
            SELECT event_id, user_id FROM events WHERE event_id = %(event_id)s FOR UPDATE
        ), moved AS (
            UPDATE events
            SET lease_until = NULL,
                tries = CASE WHEN generation = %(generation)s THEN tries + 1 ELSE tries END,
                status = CASE WHEN generation <> %(generation)s OR %(outcome)s = 'retried' THEN 'pending'
                              ELSE %(outcome)s END,
                next_try_at = CASE WHEN generation = %(generation)s THEN coalesce(%(next_try_at)s, next_try_at)
                                   ELSE next_try_at END
            FROM still_there
            WHERE events.event_id = still_there.event_id AND lease_until = %(lease_until)s
            RETURNING generation = %(generation)s AS counts
        ), kept AS (
            INSERT INTO deliveries (delivery_id, event_id, user_id, try, started_at, latency_ms, outcome, status_code,
                                    error, response_excerpt)
            SELECT %(delivery_id)s, event_id, user_id, %(try)s, %(started_at)s, %(latency_ms)s, %(outcome)s,
                   %(status_code)s, %(error)s, %(response_excerpt)s
            FROM still_there
        )
        SELECT counts FROM moved
        """,
        {
            **vars(made),
            "error": Jsonb(made.error) if made.error else None,
            "event_id": event.event_id,
            "generation": event.generation,
            "lease_until": event.lease_until,
            "try": event.tries + 1,
        },
    )
    row = await cursor.fetchone()
    return row is not None and row["counts"]


async def forget(connection: AsyncConnection, event_id: str) -> None:
    """Drop an event whose job its owner has erased."""
    await connection.execute("DELETE FROM events WHERE event_id = %s", (event_id,))


@dataclass(frozen=True)
class ReplayedRow:
    """An event that is due again."""

    event_id: str
    job_id: UUID
    type: str
    status: str
    next_try_at: datetime


async def replay(connection: AsyncConnection, *, delivery_id: UUID, user_id: str) -> ReplayedRow | None:
    """Make the event of the user's delivery due at once, its schedule from the start; ``None``: there is no such one.

    A try that is under way goes on, holds its place and is kept, but does not move the event: that is due when it ends.
    """
    cursor = await connection.execute(
        """
        UPDATE events SET status = 'pending', tries = 0, next_try_at = now(), generation = generation + 1
        FROM deliveries JOIN jobs ON jobs.user_id = deliveries.user_id
        WHERE deliveries.delivery_id = %(delivery_id)s AND deliveries.user_id = %(user_id)s
          AND events.event_id = deliveries.event_id AND events.user_id = deliveries.user_id
          AND jobs.job_id = events.job_id AND jobs.erased_at IS NULL
        RETURNING events.event_id, events.job_id, type, events.status, next_try_at
        """,
        {"delivery_id": delivery_id, "user_id": user_id},
    )
    row = await cursor.fetchone()
    return ReplayedRow(**row) if row else None
