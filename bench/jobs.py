"""Batches of jobs: created and started over HTTP, with sources uploaded to storage; timings are read from Postgres.

A job that does not succeed stops the benchmark.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row
from tests.acceptance.running import Running

from bench.figures import BenchError
from bench.http_load import post_all, post_request
from bench.processes import paused, tree_cpu
from bench.stack import TestStack
from pixelflow.adapters.storage.objects import ObjectStorage

_UPLOADS = 4
_POLL_SECONDS = 0.1
"""Each query costs Postgres CPU time that is not part of the measured work."""
_TENANT_SCOPE = "-c pixelflow.tenant_scope=everyone"

Pipeline = list[dict[str, Any]]


@dataclass(frozen=True)
class Timing:
    """The timing of one job, by the clock of Postgres."""

    job_id: str
    queued_at: datetime
    claimed_at: datetime
    finished_at: datetime
    stages: dict[str, int]
    """Milliseconds."""


@dataclass(frozen=True)
class Batch:
    """The cost of a batch of jobs."""

    cpu: float
    """CPU seconds of the worker and its children."""
    wall: float
    """Seconds from the first claim to the last end."""
    servers: dict[str, float]
    """CPU seconds of each server during the batch."""


class Jobs:
    """The jobs of a test stack."""

    def __init__(self, test_stack: TestStack) -> None:
        self._test_stack = test_stack
        self._objects = ObjectStorage(test_stack.settings)

    def create(self, pipeline: Pipeline, sources: Sequence[Path], count: int) -> list[str]:
        """Create ``count`` jobs and upload their sources, cycling through ``sources``."""
        url = self._test_stack.api_url
        request = post_request(url, "/v1/jobs", {"pipeline": pipeline}, key=self._test_stack.key)
        ids = [body["job_id"] for body in post_all(url, [request] * count).bodies]
        self.upload(ids, sources)
        return ids

    def upload(self, ids: Sequence[str], sources: Sequence[Path]) -> None:
        """Upload the sources of these jobs."""

        def put(index: int) -> None:
            with sources[index % len(sources)].open("rb") as file:
                self._objects.store(file, f"uploads/{ids[index]}/source", media_type="image/jpeg")

        with ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(put, range(len(ids))))

    def start(self, ids: Sequence[str]) -> None:
        """Start these jobs."""
        url = self._test_stack.api_url
        post_all(url, [post_request(url, f"/v1/jobs/{job_id}/start", key=self._test_stack.key) for job_id in ids])

    def wait(self, ids: Sequence[str], *, seconds: float, poll: float = _POLL_SECONDS) -> list[Timing]:
        """Wait until all have succeeded and return their timings.

        Raises:
            BenchError: a job did not succeed, or the time limit was exceeded.
        """
        deadline = time.monotonic() + seconds
        with closing(
            psycopg.connect(self._test_stack.database_url, options=_TENANT_SCOPE, autocommit=True)
        ) as connection:
            while _unfinished(connection, ids):
                if time.monotonic() > deadline:
                    raise BenchError(f"jobs were not finished after {seconds:.0f} s")
                time.sleep(poll)
            return _timings(connection, ids)

    def run_batch(
        self, worker: Running, pipeline: Pipeline, sources: Sequence[Path], count: int, *, seconds: float = 180
    ) -> Batch:
        """Queue ``count`` jobs while the worker is paused, then let it process them."""
        with paused(worker.pid):
            ids = self.create(pipeline, sources, count)
            self.start(ids)
            before, servers_before = tree_cpu(worker.pid), self._test_stack.servers_cpu()
        timings = self.wait(ids, seconds=seconds)
        cpu = tree_cpu(worker.pid) - before
        servers = {name: used - servers_before[name] for name, used in self._test_stack.servers_cpu().items()}
        first, last = min(each.claimed_at for each in timings), max(each.finished_at for each in timings)
        return Batch(cpu, (last - first).total_seconds(), servers)


def _unfinished(connection: psycopg.Connection, ids: Sequence[str]) -> bool:
    row = connection.execute(
        """
        SELECT count(*) FILTER (WHERE finished_at IS NULL), count(*) FILTER (WHERE status IN ('failed', 'canceled'))
        FROM jobs WHERE job_id = ANY(%s::uuid[])
        """,
        (list(ids),),
    ).fetchone()
    unfinished, failed = row or (0, 0)
    if failed:
        raise BenchError(f"{failed} jobs failed")
    return bool(unfinished)


def _timings(connection: psycopg.Connection, ids: Sequence[str]) -> list[Timing]:
    with connection.cursor(row_factory=class_row(Timing)) as cursor:
        return cursor.execute(
            """
            SELECT job_id::text, queued_at, attempts.started_at AS claimed_at, finished_at, stages
            FROM jobs JOIN attempts USING (job_id) WHERE job_id = ANY(%s::uuid[]) ORDER BY queued_at
            """,
            (list(ids),),
        ).fetchall()
