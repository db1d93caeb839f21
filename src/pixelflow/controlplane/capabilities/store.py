"""SQL of workers and what they are capable of. A worker is live for 15 s after a sign of life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pixelflow.adapters.postgres.database import AsyncConnection

MAX_GROUPS = 100
"""Sets of capabilities that are listed; an installation has as many as its workers differ."""


@dataclass(frozen=True)
class WorkerGroup:
    """Live workers with the same capabilities."""

    capabilities: list[str]
    workers: int
    slots: int
    degraded: int
    """How many of them claim no jobs at present."""


async def list_workers(connection: AsyncConnection) -> list[WorkerGroup]:
    """Return the live workers by capabilities, the most frequent first."""
    cursor = await connection.execute(
        """
        SELECT capabilities, count(*)::integer AS workers, sum(slots)::integer AS slots,
               count(degraded)::integer AS degraded
        FROM workers WHERE seen_at > now() - interval '15 s'
        GROUP BY capabilities ORDER BY workers DESC, capabilities LIMIT %s
        """,
        (MAX_GROUPS,),
    )
    return [WorkerGroup(**row) for row in await cursor.fetchall()]


async def find_unsupported(
    connection: AsyncConnection, *, contracts: Sequence[str], optional: Sequence[str]
) -> list[str]:
    """Return the optional capabilities that no worker has together; empty if one has them, or if that is unknown.

    Only workers that support the contracts count, live ones and those that were seen within the last ten minutes. If
    none of them is live, the workers that will process the job may still start: what they can do is unknown.

    Args:
        connection: of any scope.
        contracts: that the job requires.
        optional: capabilities that the job requires.
    """
    cursor = await connection.execute(
        """
        WITH gaps AS (
            SELECT ARRAY(SELECT unnest(%(optional)s::text[]) EXCEPT SELECT unnest(capabilities) ORDER BY 1) AS gap,
                   seen_at > now() - interval '15 s' AS live
            FROM workers WHERE seen_at > now() - interval '10 min' AND capabilities @> %(contracts)s::text[]
        )
        SELECT gap FROM gaps WHERE EXISTS (SELECT FROM gaps WHERE live) ORDER BY cardinality(gap), gap LIMIT 1
        """,
        {"contracts": list(contracts), "optional": list(optional)},
    )
    row = await cursor.fetchone()
    return list(row["gap"]) if row else []
