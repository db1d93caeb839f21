"""Section ``fairness``: how workers divide their time among users who wait, and how long a lone job waits."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
from tests.acceptance.running import Running, paused

from bench.backlog import clear, fill, upload_source, waiting
from bench.cases import PIPELINES
from bench.context import Context
from bench.figures import BenchError, Result, at_most
from bench.jobs import Jobs, Timing
from bench.sources import ABOUT, user_photos
from bench.stack import TestStack, service

_USERS = [f"user-{number}" for number in range(10)]
_LIGHT, _HEAVY = _USERS[::2], _USERS[1::2]
_HEAVIER = 4
"""How many times fewer jobs a user with heavy jobs has."""
_LONGEST_SECONDS = 75
_POLL_SECONDS = 0.1
_SEED = 9
_DESCRIPTION = (
    "Ten users have queued jobs at once, five of them light ones (one 640 px JPEG) and five heavy ones (four WebP "
    "widths). Shares are those of the processor time that `usage_logs` charges to each user, read when the first user "
    "has nothing left to claim. Then one user has 2,000 waiting jobs and another one starts single jobs, one after the "
    "other: the time until each is claimed by a worker with two slots, and how many jobs of the first user were "
    "claimed in between. Waiting jobs are written into the database directly."
)


def run(context: Context) -> Result:
    """Measure the shares of ten users, then the wait of lone jobs."""
    result = Result("fairness", about=[_DESCRIPTION, ABOUT])
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        worker = stack.enter_context(test_stack.worker(slots=2))
        bench = _Fairness(context, test_stack, worker)
        connection = stack.enter_context(bench.jobs.connection())
        context.echo("ten users with a backlog")
        _add_shares(result, bench.shares(connection))
        context.echo("a lone job beside a crowd")
        _add_waits(result, bench.lone_jobs(connection))
    return result


@dataclass(frozen=True)
class _Wait:
    milliseconds: float
    claimed_before: int
    """Jobs of the other user that were claimed while this one waited."""


class _Fairness:
    def __init__(self, context: Context, test_stack: TestStack, worker: Running) -> None:
        self._context = context
        self._test_stack = test_stack
        self._worker = worker
        self._photo = user_photos(1)[0]
        self.jobs = Jobs(test_stack)

    def shares(self, connection: psycopg.Connection) -> dict[str, float]:
        """Return each user's charged milliseconds."""
        count, source = self._context.counts.fair_jobs, upload_source(self.jobs, self._photo)
        with paused(self._worker.pid):
            fill(connection, _LIGHT, count * len(_LIGHT), PIPELINES["jpeg_640"], source)
            fill(connection, _HEAVY, max(1, count // _HEAVIER) * len(_HEAVY), PIPELINES["webp_4"], source)
        deadline = time.monotonic() + _LONGEST_SECONDS
        while time.monotonic() < deadline:
            all_wait, charged = len(waiting(connection)) == len(_USERS), _charged(connection)
            if not all_wait and charged:  # a tiny run's first user has nothing left before any job has ended
                break
            time.sleep(_POLL_SECONDS)
        clear(connection)
        return dict.fromkeys(_USERS, 0.0) | charged

    def lone_jobs(self, connection: psycopg.Connection) -> list[_Wait]:
        """Start one job after the other while a crowd of jobs waits."""
        lone, chance = Jobs(self._test_stack, self._test_stack.key_of("lone")), random.Random(_SEED)  # noqa: S311
        source = upload_source(self.jobs, self._photo)
        ids = lone.create(PIPELINES["jpeg_640"], [self._photo], self._context.counts.lone_jobs)
        with paused(self._worker.pid):
            fill(connection, ["crowd"], self._context.counts.crowd_jobs, PIPELINES["jpeg_640"], source)
        waits: list[_Wait] = []
        for job_id in ids:
            time.sleep(chance.uniform(0.1, 0.3))
            if waits and "crowd" not in waiting(connection):
                break  # a queue without fairness: the first job has waited for all of them
            lone.start([job_id])
            (timing,) = lone.wait([job_id], seconds=150)
            waits.append(_wait(connection, timing))
        return waits


def _charged(connection: psycopg.Connection) -> dict[str, float]:
    rows = connection.execute("SELECT user_id, sum(compute_time_ms)::float FROM usage_logs GROUP BY user_id").fetchall()
    return {user: milliseconds for user, milliseconds in rows if user in _USERS}


def _wait(connection: psycopg.Connection, timing: Timing) -> _Wait:
    row = connection.execute(
        """
        SELECT count(*) FROM attempts JOIN jobs USING (job_id)
        WHERE user_id = 'crowd' AND attempts.started_at > %s AND attempts.started_at < %s
        """,
        (timing.queued_at, timing.claimed_at),
    ).fetchone()
    assert row
    return _Wait((timing.claimed_at - timing.queued_at).total_seconds() * 1000, row[0])


def _add_shares(result: Result, charged: dict[str, float]) -> None:
    total = sum(charged.values())
    if not total:
        raise BenchError("no job of the ten users was finished")
    shares = {user: milliseconds / total * len(charged) * 100 for user, milliseconds in charged.items()}
    farthest = max(abs(share - 100) for share in shares.values())
    title = "ten users: share of an equal part"
    result.add("deviation", "ten users: farthest from equal processor time", "%", [farthest], at_most(10))
    result.add("light", f"{title}, users with light jobs", "%", [shares[user] for user in _LIGHT])
    result.add("heavy", f"{title}, users with heavy jobs", "%", [shares[user] for user in _HEAVY])
    result.add("charged", "ten users: processor time charged in all", "s", [total / 1000])


def _add_waits(result: Result, waits: list[_Wait]) -> None:
    before = [float(wait.claimed_before) for wait in waits]
    result.add("lone.before", "lone job: jobs of the crowd that were claimed before it", "jobs", before, at_most(1))
    result.add("lone.wait", "lone job: from queued to claimed", "ms", [wait.milliseconds for wait in waits])
