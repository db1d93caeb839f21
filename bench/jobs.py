"""Jobs by the dozen: created and started over HTTP, their sources put into storage, their rows looked at.

What ended in any other way than it should ends the benchmark.
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
from bench.processes import family_cpu, paused
from bench.stand import Stand
from pixelflow.adapters.storage.objects import ObjectStorage

_UPLOADS = 4
_POLL_SECONDS = 0.1
"""Each look costs Postgres a little, and is no part of what is measured."""
_TENANT_SCOPE = "-c pixelflow.tenant_scope=everyone"

Pipeline = list[dict[str, Any]]


@dataclass(frozen=True)
class Timing:
    """Of one job, by the clock of Postgres."""

    job_id: str
    queued_at: datetime
    claimed_at: datetime
    finished_at: datetime
    stages: dict[str, int]
    """Milliseconds."""


@dataclass(frozen=True)
class Batch:
    """What some jobs took."""

    cpu: float
    """Seconds of processor time of the worker and its children."""
    wall: float
    """Seconds from the first claim to the last end."""
    servers: dict[str, float]
    """Seconds of processor time of each server, meanwhile."""


class Jobs:
    """Of one stand."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._objects = ObjectStorage(stand.settings)

    def create(self, pipeline: Pipeline, sources: Sequence[Path], count: int) -> list[str]:
        """Create so many jobs and put their sources, one after the other of ``sources``, where they belong."""
        url = self._stand.api_url
        asked = post_request(url, "/v1/jobs", {"pipeline": pipeline}, key=self._stand.key)
        ids = [body["job_id"] for body in post_all(url, [asked] * count).bodies]
        self.upload(ids, sources)
        return ids

    def upload(self, ids: Sequence[str], sources: Sequence[Path]) -> None:
        """Put sources where jobs look for them."""

        def put(index: int) -> None:
            with sources[index % len(sources)].open("rb") as file:
                self._objects.store(file, f"uploads/{ids[index]}/source", media_type="image/jpeg")

        with ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(put, range(len(ids))))

    def start(self, ids: Sequence[str]) -> None:
        """Start them."""
        url = self._stand.api_url
        post_all(url, [post_request(url, f"/v1/jobs/{job_id}/start", key=self._stand.key) for job_id in ids])

    def wait(self, ids: Sequence[str], *, seconds: float, poll: float = _POLL_SECONDS) -> list[Timing]:
        """Their timings, once all have succeeded.

        Raises:
            BenchError: one has not, or it takes too long.
        """
        deadline = time.monotonic() + seconds
        with closing(psycopg.connect(self._stand.database_url, options=_TENANT_SCOPE, autocommit=True)) as connection:
            while _unfinished(connection, ids):
                if time.monotonic() > deadline:
                    raise BenchError(f"jobs were not done after {seconds:.0f} s")
                time.sleep(poll)
            return _timings(connection, ids)

    def run_batch(
        self, worker: Running, pipeline: Pipeline, sources: Sequence[Path], count: int, *, seconds: float = 180
    ) -> Batch:
        """Queue so many jobs while the worker stands still, then let it do them and nothing else."""
        with paused(worker.pid):
            ids = self.create(pipeline, sources, count)
            self.start(ids)
            before, servers_before = family_cpu(worker.pid), self._stand.servers_cpu()
        timings = self.wait(ids, seconds=seconds)
        cpu = family_cpu(worker.pid) - before
        servers = {name: used - servers_before[name] for name, used in self._stand.servers_cpu().items()}
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
