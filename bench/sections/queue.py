"""Section ``queue``: jobs per second while very many jobs of very many users wait, compared with few."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import datetime

import psycopg
from tests.acceptance.running import Running, paused

from bench.backlog import clear, fill, upload_source
from bench.cases import PIPELINES
from bench.context import Context
from bench.figures import BenchError, Result, at_least, ratios
from bench.jobs import Jobs
from bench.sources import user_photos
from bench.stack import service

_SHARE = 0.9
"""Share of the short queue's jobs whose ends are timed: at its end, not all slots are busy."""
_LONGEST_SECONDS = 60
_POLL_SECONDS = 0.05
_DESCRIPTION = (
    "Jobs (one 640 px JPEG of a 1 MP photo) that wait, processed by a worker with two slots: 100 jobs of 100 users, "
    "against as many of 100,000 jobs of 10,000 users. Jobs per second between the first and the 90th end of a round. "
    "Waiting jobs are written into the database directly. Rounds with the short queue come before and after those with "
    "the long one."
)


def run(context: Context) -> Result:
    """Measure the short queue, the long one, and the short one again."""
    result = Result("queue", about=[_DESCRIPTION])
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        jobs = Jobs(test_stack)
        queue = _Queue(
            context,
            stack.enter_context(test_stack.worker(slots=2)),
            stack.enter_context(jobs.connection()),
            upload_source(jobs, user_photos(1)[0]),
        )
        rounds = context.counts.queue_rounds
        context.echo("short queue")
        queue.short_rounds(1)  # warm-up
        short = queue.short_rounds(rounds)
        context.echo("long queue")
        long = queue.long_rounds(2 * rounds)
        context.echo("short queue again")
        short += queue.short_rounds(rounds)
    result.add("short", f"{context.counts.queue_waiting[0]:,} waiting jobs", "jobs/s", short)
    result.add("long", f"{context.counts.queue_waiting[1]:,} waiting jobs", "jobs/s", long)
    result.add("ratio", "very many waiting jobs against few", "×", ratios(long, short), at_least(0.97))
    return result


class _Queue:
    def __init__(self, context: Context, worker: Running, connection: psycopg.Connection, source: str) -> None:
        self._context = context
        self._worker = worker
        self._connection = connection
        self._source = source
        self._timed = max(2, int(context.counts.queue_waiting[0] * _SHARE))

    def short_rounds(self, rounds: int) -> list[float]:
        """Jobs per second of each round; each one fills the queue and drains it."""
        return [self._short_round() for _ in range(rounds)]

    def long_rounds(self, rounds: int) -> list[float]:
        """Jobs per second of each round; the queue is filled once."""
        with paused(self._worker.pid):
            self._fill(1)
            began = self._now()
        rates = []
        for _ in range(rounds):
            self._context.check_time()
            rates.append(self._rate(began, self._timed))
            began = self._now()
        clear(self._connection)
        return rates

    def _short_round(self) -> float:
        self._context.check_time()
        with paused(self._worker.pid):
            self._fill(0)
            began = self._now()
        self._rate(began, self._context.counts.queue_waiting[0])  # until the queue is empty
        rate = self._rate(began, self._timed)
        clear(self._connection)
        return rate

    def _fill(self, which: int) -> None:
        count, users = self._context.counts.queue_waiting[which], self._context.counts.queue_users[which]
        names = [f"user-{number}" for number in range(users)]
        fill(self._connection, names, count, PIPELINES["jpeg_640"], self._source)

    def _rate(self, began: datetime, count: int) -> float:
        """Wait until ``count`` jobs claimed since ``began`` have ended; return their ends per second."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while len(ends := self._ends(began, count)) < count:
            if time.monotonic() > deadline:
                raise BenchError(f"{count} waiting jobs were not finished after {_LONGEST_SECONDS} s")
            time.sleep(_POLL_SECONDS)
        return (count - 1) / (ends[-1] - ends[0]).total_seconds()

    def _ends(self, began: datetime, count: int) -> list[datetime]:
        rows = self._connection.execute(
            """
            SELECT ended_at FROM attempts WHERE started_at > %s AND outcome = 'succeeded' ORDER BY ended_at LIMIT %s
            """,
            (began, count),
        ).fetchall()
        return [ended_at for (ended_at,) in rows]

    def _now(self) -> datetime:
        row = self._connection.execute("SELECT clock_timestamp()").fetchone()
        assert row
        now: datetime = row[0]
        return now
