"""Reaps expired leases: requeues the job, or fails it when it has no attempts left."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

import psycopg
import structlog

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.jobs import transitions
from pixelflow.controlplane.jobs.transitions import ReapedRow
from pixelflow.errors import StoreUnavailableError

BATCH = 100
_EXHAUSTED = (
    "Every attempt ended with a worker that crashed or stopped responding; the image may need more resources than "
    "workers have"
)

_log = structlog.get_logger(__name__)


class ReapOutcome(StrEnum):
    """What happened to a job whose lease expired."""

    REQUEUED = "requeued"
    EXHAUSTED = "exhausted"


class LeaseReaper:
    """A controller loop: takes jobs back from workers that stopped renewing their leases.

    It reaps only after the database was available to it for the length of a lease. Before that, a lease may have
    expired because the worker could not renew it. Within that time, live workers renew what they still process and
    register again, so their lost attempts are not counted.

    Leases that expired two leases ago are reaped without this wait, unless this process saw an outage: otherwise a
    controller that restarts more often than once per lease would never reap any.
    """

    name = "lease_reaper"

    def __init__(
        self,
        database: AsyncDatabase,
        *,
        lease: timedelta,
        on_reaped: Callable[[ReapOutcome], None] = lambda _: None,
        on_change: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the loop.

        Args:
            database: connections for all users.
            lease: length of a lease.
            on_reaped: called once for each reaped job.
            on_change: called with the owner of each.
            clock: returns seconds.
        """
        self._database = database
        self._lease = lease
        self._on_reaped = on_reaped
        self._on_change = on_change
        self._clock = clock
        self._available_since: float | None = None
        self._saw_outage = False

    async def run_once(self) -> int:
        """Reap at most ``BATCH`` expired leases; returns how many."""
        try:
            async with self._database.connection() as connection:
                rows = await self._reap(connection)
        except StoreUnavailableError as error:
            if not _is_of_statement(error.__cause__):
                self._available_since = None
                self._saw_outage = True
            raise
        for row in rows:
            self._on_change(row.user_id)
            self._on_reaped(ReapOutcome.REQUEUED if row.status == JobStatus.QUEUED else ReapOutcome.EXHAUSTED)
            _log.warning(
                "lease expired",
                job_id=str(row.job_id),
                user_id=row.user_id,
                attempt=row.lease_token,
                attempts=row.attempts,
                status=row.status,
            )
        return len(rows)

    async def _reap(self, connection: AsyncConnection) -> list[ReapedRow]:
        now = self._clock()
        if self._available_since is None:
            self._available_since = now
        overdue = timedelta(0)
        if now - self._available_since < self._lease.total_seconds():
            if self._saw_outage:
                await connection.execute("SELECT 1")  # raises if the database is unavailable
                return []
            overdue = 2 * self._lease
        try:
            return await transitions.reap_expired(connection, limit=BATCH, exhausted=_EXHAUSTED, overdue=overdue)
        except psycopg.Error as error:
            if _is_outage(error):
                raise
            _log.exception("expired leases not reaped together")
        return await self._reap_one_by_one(connection, overdue)

    async def _reap_one_by_one(self, connection: AsyncConnection, overdue: timedelta) -> list[ReapedRow]:
        """Reap each lease in a statement of its own, so that a job that can't be reaped stops no others."""
        rows: list[ReapedRow] = []
        for job_id in await transitions.find_expired(connection, limit=BATCH, overdue=overdue):
            try:
                rows += await transitions.reap_expired(
                    connection, limit=1, exhausted=_EXHAUSTED, only=job_id, overdue=overdue
                )
            except psycopg.Error as error:
                if _is_outage(error):
                    raise
                _log.exception("expired lease not reaped", job_id=str(job_id))
        return rows


def _is_outage(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.OperationalError) and not _is_of_statement(error)


def _is_of_statement(error: BaseException | None) -> bool:
    """Whether a server that is available ended the statement: a deadlock, a timeout of a lock or of the statement."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state is not None and (state[:2] in {"40", "55"} or state == "57014")
