"""Section ``latency``: how long a client waits on an idle stack, without the transform, broken down by stage."""

from __future__ import annotations

import random
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http.client import HTTPConnection
from urllib.parse import urlsplit

from bench.cases import PIPELINES
from bench.context import Context
from bench.figures import BenchError, Result, at_most, late_spread, ratios, spread
from bench.jobs import Jobs, Timing
from bench.photos import ABOUT
from bench.stack import TestStack, service
from pixelflow.adapters.storage.objects import ObjectStorage

_CASE = "jpeg_640"
_LONGEST_PAUSE = 0.05
"""Seconds of the random pause between jobs, so that jobs are not synchronized with polling loops."""
_POLL_SECONDS = 0.01
_SEED = 4


@dataclass(frozen=True)
class Wait:
    """The waiting time for one job."""

    by_client: float
    """Milliseconds from sending the start request to the job's end, without the transform."""
    timing: Timing
    bare: float
    """Milliseconds of the requests to storage, sent alone."""

    @property
    def by_row(self) -> float:
        """Milliseconds from the row's ``queued_at`` to its ``finished_at``, without the transform."""
        return _milliseconds(self.timing.finished_at, self.timing.queued_at) - self.timing.stages["transform"]

    @property
    def parts(self) -> dict[str, float]:
        """Milliseconds of each part."""
        stages = self.timing.stages
        until_claim = _milliseconds(self.timing.claimed_at, self.timing.queued_at)
        measured = {name: float(stages[name]) for name in ("fetch", "wait", "store")}
        return {
            "start request until queued": self.by_client - self.by_row,
            "queue": until_claim,
            **measured,
            "rest": self.by_row - until_claim - sum(measured.values()),
        }


_DESCRIPTION = (
    "One 640 px JPEG job after the other on an otherwise idle stack. Measured from just before the start request is "
    "sent, on a kept connection, until the job's `finished_at`, which the finishing statement sets, minus the stage "
    "«transform» as measured by the worker. Both clocks are of the same machine. The figure includes the start request "
    "(key, HEAD of the source, one statement), and excludes the commit of the last statement. Bare storage: after each "
    "job and the same pause, the benchmark itself sends the three requests that a job needs, on a kept connection: "
    "HEAD, GET of the source, and PUT of an output of the same size after the time of the transform. A processor that "
    "was idle is slow at first, so they take longer than in a loop."
)


class _KeptConnection:
    """A connection to one server, kept between requests."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._connection = HTTPConnection(str(place.hostname), place.port)

    def send(self, method: str, url: str, *, key: str = "", body: bytes | None = None) -> float:
        """Send a request; return the milliseconds until the response has arrived.

        Raises:
            BenchError: the response is no success.
        """
        place, began = urlsplit(url), time.perf_counter()
        path = f"{place.path}?{place.query}" if place.query else place.path
        self._connection.request(method, path, body, {"Authorization": f"Bearer {key}"} if key else {})
        response = self._connection.getresponse()
        response.read()
        if response.status not in {200, 202}:
            raise BenchError(f"{method}: status {response.status}")
        return (time.perf_counter() - began) * 1000


class _BareStorage:
    """The requests of a job to storage, without the service."""

    def __init__(self, objects: ObjectStorage, job_id: str, size: int) -> None:
        source, output = f"uploads/{job_id}/source", f"outputs/{job_id}/bare.jpg"
        sign = partial(objects.sign_download, source, media_type=None, file_name="source", seconds=3600)
        self._head, self._get = sign(method="HEAD").url, sign().url
        self._put = objects.sign_upload(output, content_length=size, content_type=None, seconds=3600).url
        self._body = bytes(size)
        self._connection = _KeptConnection(self._get)

    def milliseconds(self, pause: float, transform: float) -> float:
        """Send them after ``pause`` seconds, the last one ``transform`` seconds after the second; return their time."""
        time.sleep(pause)
        before = self._connection.send("HEAD", self._head) + self._connection.send("GET", self._get)
        time.sleep(transform)
        return before + self._connection.send("PUT", self._put, body=self._body)


def run(context: Context) -> Result:
    """Run one job after the other."""
    result = Result("latency", about=[_DESCRIPTION, ABOUT])
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        stack.enter_context(test_stack.worker(slots=2))
        context.echo("one job at a time")
        probe = _Probe(context, test_stack)
        probe.round(max(2, context.counts.latency_jobs // 6))
        rounds = [probe.round(context.counts.latency_jobs) for _ in range(context.counts.latency_rounds)]
    _add_figures(result, rounds)
    return result


class _Probe:
    """Runs one job after the other, and the bare requests between them."""

    def __init__(self, context: Context, test_stack: TestStack) -> None:
        self._context = context
        self._test_stack = test_stack
        self._jobs = Jobs(test_stack)
        self._api = _KeptConnection(test_stack.api_url)
        (job_id,) = self._jobs.create(PIPELINES[_CASE], context.photos, 1)
        self._start(job_id)
        self._jobs.wait([job_id], seconds=30)
        (output,) = self._jobs.outputs(job_id).values()
        self._storage = _BareStorage(ObjectStorage(test_stack.settings), job_id, len(output))

    def round(self, count: int) -> list[Wait]:
        """Run so many jobs."""
        self._context.check_time()
        chance = random.Random(_SEED)  # noqa: S311  # pauses, not secrets
        ids = self._jobs.create(PIPELINES[_CASE], self._context.photos, count)
        return [self._one(job_id, chance.uniform(0, _LONGEST_PAUSE)) for job_id in ids]

    def _one(self, job_id: str, pause: float) -> Wait:
        time.sleep(pause)
        sent = time.time()
        self._start(job_id)
        (timing,) = self._jobs.wait([job_id], seconds=30, poll=_POLL_SECONDS)
        transform = timing.stages["transform"]
        bare = self._storage.milliseconds(pause, transform / 1000)
        return Wait((timing.finished_at.timestamp() - sent) * 1000 - transform, timing, bare)

    def _start(self, job_id: str) -> None:
        self._api.send("POST", f"/v1/jobs/{job_id}/start", key=self._test_stack.key)


def _add_figures(result: Result, rounds: list[list[Wait]]) -> None:
    everything = [waited for each in rounds for waited in each]
    medians = [statistics.median(waited.by_client for waited in each) for each in rounds]
    late = late_spread([waited.by_client for waited in everything])
    result.add("client.p50", "start → succeeded minus transform, p50", "ms", medians, at_most(12))
    result.add("client.p99", "start → succeeded minus transform, p99", "ms", late, at_most(30))
    bare = [statistics.median(waited.bare for waited in each) for each in rounds]
    result.add("bare.p50", "bare storage: HEAD, GET and PUT of such a job alone, p50", "ms", bare)
    result.add("bare.ratio", "start → succeeded minus transform, p50, against bare storage", "×", ratios(medians, bare))
    result.add("row.p50", "queued → succeeded minus transform, p50", "ms", spread([each.by_row for each in everything]))
    result.add("row.p99", "queued → succeeded minus transform, p99", "ms", late_spread([w.by_row for w in everything]))
    for part in everything[0].parts:
        result.add(f"part.{part}", f"of it: {part}", "ms", [each.parts[part] for each in everything])
    result.add(
        "transform", "the transform itself", "ms", [float(each.timing.stages["transform"]) for each in everything]
    )


def _milliseconds(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds() * 1000
