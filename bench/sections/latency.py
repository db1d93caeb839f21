"""Section ``latency``: how long a client waits on an idle stack, without the transform, broken down by stage."""

from __future__ import annotations

import random
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from bench.cases import PIPELINES
from bench.context import Context
from bench.figures import Result, at_most, late_spread, spread
from bench.http_load import post_request, send_all
from bench.jobs import Jobs, Timing
from bench.photos import ABOUT
from bench.stack import TestStack, service

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
    "sent until the job's `finished_at`, which the finishing statement sets, minus the stage «transform» as measured "
    "by the worker. Both clocks are of the same machine. The figure includes the start request (key, HEAD of the "
    "source, one statement), and excludes the commit of the last statement."
)


def run(context: Context) -> Result:
    """Run one job after the other."""
    result = Result("latency", about=[_DESCRIPTION, ABOUT])
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        stack.enter_context(test_stack.worker(slots=2))
        context.echo("one job at a time")
        jobs = Jobs(test_stack)
        _round(context, test_stack, jobs, max(2, context.counts.latency_jobs // 6))
        rounds = [
            _round(context, test_stack, jobs, context.counts.latency_jobs) for _ in range(context.counts.latency_rounds)
        ]
    _add_figures(result, rounds)
    return result


def _round(context: Context, test_stack: TestStack, jobs: Jobs, count: int) -> list[Wait]:
    context.check_time()
    chance = random.Random(_SEED)  # noqa: S311  # pauses, not secrets
    ids = jobs.create(PIPELINES[_CASE], context.photos, count)
    return [_one(test_stack, jobs, job_id, chance.uniform(0, _LONGEST_PAUSE)) for job_id in ids]


def _one(test_stack: TestStack, jobs: Jobs, job_id: str, pause: float) -> Wait:
    time.sleep(pause)
    request = post_request(test_stack.api_url, f"/v1/jobs/{job_id}/start", key=test_stack.key)
    sent = time.time()
    send_all(test_stack.api_url, [request], connections=1)
    (timing,) = jobs.wait([job_id], seconds=30, poll=_POLL_SECONDS)
    return Wait((timing.finished_at.timestamp() - sent) * 1000 - timing.stages["transform"], timing)


def _add_figures(result: Result, rounds: list[list[Wait]]) -> None:
    everything = [waited for each in rounds for waited in each]
    medians = [statistics.median(waited.by_client for waited in each) for each in rounds]
    late = late_spread([waited.by_client for waited in everything])
    result.add("client.p50", "start → succeeded minus transform, p50", "ms", medians, at_most(12))
    result.add("client.p99", "start → succeeded minus transform, p99", "ms", late, at_most(30))
    result.add("row.p50", "queued → succeeded minus transform, p50", "ms", spread([each.by_row for each in everything]))
    result.add("row.p99", "queued → succeeded minus transform, p99", "ms", late_spread([w.by_row for w in everything]))
    for part in everything[0].parts:
        result.add(f"part.{part}", f"of it: {part}", "ms", [each.parts[part] for each in everything])
    result.add(
        "transform", "the transform itself", "ms", [float(each.timing.stages["transform"]) for each in everything]
    )


def _milliseconds(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds() * 1000
