"""Batches of jobs: created and started over HTTP, with sources uploaded to storage; timings are read from Postgres.

A job that does not succeed stops the benchmark.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import class_row
from tests.acceptance.running import Running, paused

from bench.figures import BenchError
from bench.http_load import CONNECTIONS, Responses, post_request, send_all
from bench.stack import SERVERS, TestStack
from pixelflow.adapters.storage.objects import ObjectStorage

_UPLOADS = 4
_POLL_SECONDS = 0.1
"""Each query costs Postgres CPU time that is not part of the measured work."""
_MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png", "": "application/octet-stream"}
_ALONE_POLL_SECONDS = 0.01
_IN_FLIGHT_POLL_SECONDS = 0.005
"""While a client waits for the end of a job in order to start the next one."""
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

    wall: float
    """Seconds from the first claim to the last end."""
    processes: dict[str, float]
    """CPU seconds of each process during the batch, as of :meth:`TestStack.cpu`."""

    @property
    def cpu(self) -> float:
        """CPU seconds of the worker and its children."""
        return self.processes["worker"] + self.processes["children"]

    @property
    def servers(self) -> dict[str, float]:
        """CPU seconds of each server."""
        return {name: self.processes[name] for name in SERVERS}


def new_job(pipeline: Pipeline, source: Path) -> dict[str, object]:
    """The body of a request that creates a job."""
    return {"source": {"content_length": source.stat().st_size}, "pipeline": pipeline}


class Jobs:
    """The jobs of a test stack."""

    def __init__(self, test_stack: TestStack, key: str | None = None) -> None:
        """Use the API as the user of ``key``, the stack's own user by default."""
        self._test_stack = test_stack
        self._key = key or test_stack.key
        self._objects = ObjectStorage(test_stack.settings)

    def create(self, pipeline: Pipeline, sources: Sequence[Path], count: int) -> list[str]:
        """Create ``count`` jobs and upload their sources, cycling through ``sources``."""
        ids = self.create_empty(pipeline, sources, count)
        self.upload(ids, sources)
        return ids

    def create_empty(self, pipeline: Pipeline, sources: Sequence[Path], count: int) -> list[str]:
        """Create ``count`` jobs for these sources, without uploading them."""
        return [body["job_id"] for body in self._post_jobs(pipeline, sources, count).bodies]

    def _post_jobs(self, pipeline: Pipeline, sources: Sequence[Path], count: int) -> Responses:
        url = self._test_stack.api_url
        requests = [post_request(url, "/v1/jobs", new_job(pipeline, source), key=self._key) for source in sources]
        return send_all(url, list(islice(cycle(requests), count)), connections=min(count, CONNECTIONS))

    def upload(self, ids: Sequence[str], sources: Sequence[Path]) -> None:
        """Upload the sources of these jobs."""

        def put(index: int) -> None:
            source = sources[index % len(sources)]
            with source.open("rb") as file:
                self._objects.store(file, f"uploads/{ids[index]}/source", media_type=_MEDIA_TYPES[source.suffix])

        with ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(put, range(len(ids))))

    def start(self, ids: Sequence[str]) -> None:
        """Start these jobs."""
        url = self._test_stack.api_url
        send_all(url, [post_request(url, f"/v1/jobs/{job_id}/start", key=self._key) for job_id in ids])

    def wait(self, ids: Sequence[str], *, seconds: float, poll: float = _POLL_SECONDS) -> list[Timing]:
        """Wait until all have succeeded and return their timings.

        Raises:
            BenchError: a job did not succeed, or the time limit was exceeded.
        """
        deadline = time.monotonic() + seconds
        with self.connection() as connection:
            while _unfinished(connection, ids):
                if time.monotonic() > deadline:
                    raise BenchError(f"jobs were not finished after {seconds:.0f} s")
                time.sleep(poll)
            return _timings(connection, ids)

    def run_batch(
        self,
        worker: Running,
        pipeline: Pipeline,
        sources: Sequence[Path],
        count: int,
        *,
        seconds: float = 180,
        poll: float = _POLL_SECONDS,
    ) -> Batch:
        """Queue ``count`` jobs while the worker is paused, then let it process them."""
        with paused(worker.pid):
            ids = self.create(pipeline, sources, count)
            self.start(ids)
            before = self._test_stack.cpu(worker)
        timings = self.wait(ids, seconds=seconds, poll=poll)
        used = since(before, self._test_stack.cpu(worker))
        first, last = min(each.claimed_at for each in timings), max(each.finished_at for each in timings)
        return Batch((last - first).total_seconds(), used)

    def run_alone(self, pipeline: Pipeline, photo: Path) -> tuple[str, float]:
        """Run one job; return its ID and the milliseconds of its creation and from its start to ``finished_at``.

        The upload in between is not included.

        Raises:
            BenchError: the job did not succeed within 60 seconds.
        """
        created = self._post_jobs(pipeline, [photo], 1)
        ids = [created.bodies[0]["job_id"]]
        self.upload(ids, [photo])
        url = self._test_stack.api_url
        request = post_request(url, f"/v1/jobs/{ids[0]}/start", key=self._key)
        sent = time.time()
        send_all(url, [request], connections=1)
        (timing,) = self.wait(ids, seconds=60, poll=_ALONE_POLL_SECONDS)
        return ids[0], (created.seconds + timing.finished_at.timestamp() - sent) * 1000

    def download_url(self, key: str) -> str:
        """Return a URL for GET requests for an object in the bucket, valid for an hour."""
        return self._objects.sign_download(key, media_type="image/*", file_name="photo", seconds=3600).url

    def outputs(self, job_id: str) -> dict[str, bytes]:
        """Return the files of a job's outputs by step."""
        with self.connection() as connection:
            keys = connection.execute("SELECT step_id, object_key FROM outputs WHERE job_id = %s", (job_id,)).fetchall()
        return {step: httpx.get(self.download_url(key)).raise_for_status().content for step, key in keys}

    def run_in_flight(self, ids: Sequence[str], in_flight: int, *, seconds: float = 180) -> float:
        """Start created jobs so that ``in_flight`` of them are always on their way; return the seconds until all ended.

        Raises:
            BenchError: a job did not succeed, or the time limit was exceeded.
        """
        left, running = list(reversed(ids)), set[str]()
        began = time.perf_counter()
        with self.connection() as connection:
            while left or running:
                while left and len(running) < in_flight:
                    running.add(left[-1])
                    self.start([left.pop()])
                running -= _succeeded(connection, running)
                if time.perf_counter() - began > seconds:
                    raise BenchError(f"jobs were not finished after {seconds:.0f} s")
                time.sleep(_IN_FLIGHT_POLL_SECONDS)
        return time.perf_counter() - began

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """Connect to the database of all users' jobs."""
        with closing(
            psycopg.connect(self._test_stack.database_url, options=_TENANT_SCOPE, autocommit=True)
        ) as connection:
            yield connection


def since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the difference of each value."""
    return {name: value - before[name] for name, value in after.items()}


def _succeeded(connection: psycopg.Connection, ids: Collection[str]) -> set[str]:
    rows = connection.execute(
        "SELECT job_id::text, status FROM jobs WHERE job_id = ANY(%s::uuid[]) AND finished_at IS NOT NULL",
        (list(ids),),
    ).fetchall()
    if any(status != "succeeded" for _, status in rows):
        raise BenchError("a job did not succeed")
    return {job_id for job_id, _ in rows}


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
