"""SQL that chooses due events and leases them, fairly among users and hosts.

A lane is a user's events at one host. What a dispatcher reads to choose is bounded: it depends neither on the number of
due events nor on that of lanes. Only events that are chosen are locked. All times come from the dispatcher's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection
from pixelflow.contracts.webhook_endpoints import TEST_EVENT
from pixelflow.contracts.webhooks import EventType

DUE_WINDOW = 256
"""Due events whose lanes are looked at, the longest due first. If they fill the window, other lanes are visited too."""
VISITED_USERS = 128
VISITED_HOSTS = 4
"""Of each visited user."""
_MAX_HOST_POSITIONS = 10_000


@dataclass(frozen=True)
class LeasedEvent:
    """An event that a dispatcher holds until ``lease_until``; ``lease_until`` and ``generation`` fence its outcome."""

    event_id: str
    job_id: UUID | None
    batch_id: UUID | None
    """A test event has neither job nor batch."""
    endpoint_id: UUID | None
    """``None``: the event is for the ``webhook_url`` of the job or the batch."""
    user_id: str
    type: str
    url: str
    created_at: datetime
    attempts: int
    """Made so far."""
    generation: int
    """How often the event was replayed."""
    lease_until: datetime
    traceparent: str | None
    is_wanted: bool
    """False: the endpoint is disabled or deleted."""


@dataclass(frozen=True)
class DeliveryLimits:
    """How many events may be leased at once, over all dispatchers."""

    per_host: int
    per_user: int
    per_lane: int
    """Less than ``per_host``, so that no user takes all places of a host that others use too."""


@dataclass(frozen=True)
class Lane:
    """A user's events at one host."""

    user_id: str
    host: str


async def longest_due(connection: AsyncConnection, *, now: datetime) -> tuple[list[Lane], bool]:
    """Return the lanes of the events that are due the longest, and whether there are more events than were read."""
    cursor = await connection.execute(
        """
        SELECT user_id, host, count(*) AS events FROM (
            SELECT user_id, host FROM events WHERE status = 'pending' AND next_attempt_at <= %(now)s
            ORDER BY next_attempt_at LIMIT %(window)s
        ) AS longest GROUP BY user_id, host
        """,
        {"now": now, "window": DUE_WINDOW},
    )
    rows = await cursor.fetchall()
    return [Lane(row["user_id"], row["host"]) for row in rows], sum(row["events"] for row in rows) >= DUE_WINDOW


@dataclass
class Rotation:
    """The position of a dispatcher that visits all lanes in turn, some at a time, and starts over after the last."""

    user_id: str = ""
    """The user who was visited last."""
    hosts: dict[str, str] = field(default_factory=dict)
    """The host that was visited last, of users with more hosts than a visit covers."""

    def advance(self, lanes: Sequence[Lane]) -> None:
        """Move past lanes that were visited."""
        by_user = {user_id: list(of_user) for user_id, of_user in groupby(lanes, lambda lane: lane.user_id)}
        self.user_id = lanes[-1].user_id if len(by_user) >= VISITED_USERS else ""
        if len(self.hosts) > _MAX_HOST_POSITIONS:
            self.hosts.clear()
        for user_id, of_user in by_user.items():
            self.hosts.pop(user_id, None)
            if len(of_user) >= VISITED_HOSTS:
                self.hosts[user_id] = of_user[-1].host


async def visit(connection: AsyncConnection, rotation: Rotation) -> list[Lane]:
    """Return the next lanes of all that have pending events, whether or not they are due; advances the rotation.

    Uses loose index scans (PostgreSQL wiki): each step finds the next user or host, however many events are between
    them.
    """
    cursor = await connection.execute(
        _VISIT,
        {
            "after": rotation.user_id,
            "users": VISITED_USERS,
            "hosts": VISITED_HOSTS,
            "at_users": list(rotation.hosts),
            "at_hosts": list(rotation.hosts.values()),
        },
    )
    lanes = [Lane(**row) for row in await cursor.fetchall()]
    rotation.advance(lanes)
    return lanes


_VISIT = """
    WITH RECURSIVE visited AS (
        (SELECT user_id, 1 AS n FROM events WHERE status = 'pending' AND user_id > %(after)s ORDER BY user_id LIMIT 1)
        UNION ALL
        SELECT (SELECT events.user_id FROM events WHERE status = 'pending' AND events.user_id > visited.user_id
                ORDER BY events.user_id LIMIT 1), n + 1
        FROM visited WHERE user_id IS NOT NULL AND n < %(users)s
    )
    SELECT visited.user_id, hosts.host
    FROM visited
    LEFT JOIN unnest(%(at_users)s::text[], %(at_hosts)s::text[]) AS position (user_id, host) USING (user_id)
    CROSS JOIN LATERAL (
        WITH RECURSIVE hosts AS (
            SELECT coalesce(
                (SELECT events.host FROM events
                 WHERE status = 'pending' AND events.user_id = visited.user_id AND events.host > position.host
                 ORDER BY events.host LIMIT 1),
                (SELECT events.host FROM events WHERE status = 'pending' AND events.user_id = visited.user_id
                 ORDER BY events.host LIMIT 1)
            ) AS host, 1 AS n
            UNION ALL
            SELECT (SELECT events.host FROM events
                    WHERE status = 'pending' AND events.user_id = visited.user_id AND events.host > hosts.host
                    ORDER BY events.host LIMIT 1), n + 1
            FROM hosts WHERE host IS NOT NULL AND n < %(hosts)s
        )
        SELECT host FROM hosts WHERE host IS NOT NULL
    ) AS hosts
    WHERE visited.user_id IS NOT NULL
    ORDER BY visited.user_id, hosts.host
"""
_LEASE = """
    WITH leased AS MATERIALIZED (
        SELECT user_id, host, count(*) AS places FROM events WHERE lease_until > %(now)s GROUP BY user_id, host
    ), lanes AS (
        SELECT lane.user_id, lane.host, coalesce(places, 0) AS places
        FROM unnest(%(user_ids)s::text[], %(hosts)s::text[]) AS lane (user_id, host)
        LEFT JOIN leased USING (user_id, host)
    ),
    -- Of each lane, as many due events as its limit leaves room for.
    due AS MATERIALIZED (
        SELECT event_id, next_attempt_at, user_id, host,
               places + row_number() OVER (PARTITION BY user_id, host ORDER BY next_attempt_at) AS place
        FROM lanes CROSS JOIN LATERAL (
            SELECT event_id, next_attempt_at FROM events
            WHERE status = 'pending' AND events.user_id = lanes.user_id AND events.host = lanes.host
              AND type = ANY(%(types)s::text[]) AND next_attempt_at <= %(now)s
              AND (lease_until IS NULL OR lease_until <= %(now)s)
            ORDER BY next_attempt_at LIMIT greatest(0, least(%(limit)s, %(per_lane)s - places))
            OFFSET 0
        ) AS candidate
    ),
    -- The second place of a lane ranks after the first places of the others: users share a host, hosts share the places
    -- of a user, and users share a dispatcher.
    within_hosts AS (
        SELECT due.*,
               coalesce(places, 0) + row_number() OVER (PARTITION BY host ORDER BY place, next_attempt_at) AS rank
        FROM due LEFT JOIN (SELECT host, sum(places) AS places FROM leased GROUP BY host) AS of_host USING (host)
    ), within_users AS (
        SELECT event_id, next_attempt_at,
               coalesce(places, 0) + row_number() OVER (PARTITION BY user_id ORDER BY place, next_attempt_at) AS rank
        FROM within_hosts
        LEFT JOIN (SELECT user_id, sum(places) AS places FROM leased GROUP BY user_id) AS of_user USING (user_id)
        WHERE rank <= %(per_host)s
    ),
    -- More than needed, because an event may be locked; few, so that they are joined by their keys in a large backlog.
    first AS MATERIALIZED (
        SELECT event_id, rank, next_attempt_at FROM within_users WHERE rank <= %(per_user)s
        ORDER BY rank, next_attempt_at LIMIT 2 * %(limit)s
    ), chosen AS MATERIALIZED (
        SELECT event_id, job_id, endpoint_id FROM first JOIN events USING (event_id)
        WHERE status = 'pending' AND (lease_until IS NULL OR lease_until <= %(now)s)
        ORDER BY rank, first.next_attempt_at LIMIT %(limit)s
        FOR NO KEY UPDATE OF events SKIP LOCKED
    )
    UPDATE events SET lease_until = %(lease_until)s
    FROM chosen
    LEFT JOIN jobs ON jobs.job_id = chosen.job_id
    LEFT JOIN webhook_endpoints AS endpoints ON endpoints.endpoint_id = chosen.endpoint_id
    WHERE events.event_id = chosen.event_id
    RETURNING events.event_id, events.job_id, events.batch_id, events.endpoint_id, events.user_id, type, events.url,
              events.created_at, events.attempts, generation, events.lease_until, traceparent,
              events.endpoint_id IS NULL
                  OR (endpoints.endpoint_id IS NOT NULL
                      AND (enabled OR coalesce(events.job_id, events.batch_id) IS NULL)) AS is_wanted
"""
_TYPES = [*EventType, TEST_EVENT]
"""What this release can send. Others were created by a newer one, of which a controller sends them."""
_LOCK = 0x5750_4C53  # any number that no other advisory lock of this database uses


async def lease_due(
    connection: AsyncConnection,
    lanes: Sequence[Lane],
    *,
    now: datetime,
    lease: timedelta,
    limits: DeliveryLimits,
    limit: int,
) -> list[LeasedEvent]:
    """Lease at most ``limit`` due events of the lanes, within the limits. Must run in a transaction.

    Dispatchers choose one after another, for milliseconds each: otherwise they would exceed the limits together. The
    lock ends with the transaction.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    values = {
        "user_ids": [lane.user_id for lane in lanes],
        "hosts": [lane.host for lane in lanes],
        "now": now,
        "lease_until": now + lease,
        "limit": limit,
        "types": _TYPES,
        **vars(limits),
    }
    cursor = await connection.execute(_LEASE, values)
    return [LeasedEvent(**row) for row in await cursor.fetchall()]
