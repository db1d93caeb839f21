"""How long a client waits on an idle stack, without the transform; and where that time goes."""

from __future__ import annotations

import random
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from bench.cases import PIPELINES
from bench.figures import Result, Spread, at_most, spread
from bench.http_load import post_all, post_request
from bench.jobs import Jobs, Timing
from bench.photos import ABOUT
from bench.sections.surroundings import Surroundings
from bench.stand import Stand, service

_CASE = "jpeg_640"
_LONGEST_PAUSE = 0.05
"""Seconds, at random, between jobs: they must not fall into step with whoever polls."""
_POLL_SECONDS = 0.01
_SEED = 4
_P99 = 99


@dataclass(frozen=True)
class Waited:
    """For one job."""

    by_client: float
    """Milliseconds from sending the start request to the job's end, without the transform."""
    timing: Timing

    @property
    def by_row(self) -> float:
        """Milliseconds from when the row says it was queued to when it says it was finished, without the transform."""
        return _milliseconds(self.timing.finished_at, self.timing.queued_at) - self.timing.stages["transform"]

    @property
    def parts(self) -> dict[str, float]:
        """Milliseconds of each."""
        stages = self.timing.stages
        until_claim = _milliseconds(self.timing.claimed_at, self.timing.queued_at)
        told = {name: float(stages[name]) for name in ("fetch", "wait", "store")}
        return {
            "start request until queued": self.by_client - self.by_row,
            "queue": until_claim,
            **told,
            "rest": self.by_row - until_claim - sum(told.values()),
        }


_ABOUT = (
    "One 640 px JPEG job after the other, nothing else to do. From the moment before the request to start it is "
    "sent until the time that the finishing statement wrote (`finished_at`), both clocks of the same machine, "
    "minus the stage «transform» as the worker measured it. So the start request is in it (key, HEAD of the "
    "source, two statements, one message), and the commit of the last statement is not."
)


def run(around: Surroundings) -> Result:
    """One job after the other."""
    result = Result("latency", about=[_ABOUT, ABOUT])
    with ExitStack() as stack:
        stand = stack.enter_context(service())
        result.versions = stand.versions()
        stack.enter_context(stand.worker(slots=2))
        around.say("one job at a time")
        jobs = Jobs(stand)
        _round(around, stand, jobs, max(2, around.counts.latency_jobs // 6))
        rounds = [_round(around, stand, jobs, around.counts.latency_jobs) for _ in range(around.counts.latency_rounds)]
    _tell(result, rounds)
    return result


def _round(around: Surroundings, stand: Stand, jobs: Jobs, count: int) -> list[Waited]:
    around.check_time()
    chance = random.Random(_SEED)  # noqa: S311  # pauses, not secrets
    ids = jobs.create(PIPELINES[_CASE], around.photos, count)
    return [_one(stand, jobs, job_id, chance.uniform(0, _LONGEST_PAUSE)) for job_id in ids]


def _one(stand: Stand, jobs: Jobs, job_id: str, pause: float) -> Waited:
    time.sleep(pause)
    request = post_request(stand.api_url, f"/v1/jobs/{job_id}/start", key=stand.key)
    sent = time.time()
    post_all(stand.api_url, [request], connections=1)
    (timing,) = jobs.wait([job_id], seconds=30, poll=_POLL_SECONDS)
    return Waited((timing.finished_at.timestamp() - sent) * 1000 - timing.stages["transform"], timing)


def _tell(result: Result, rounds: list[list[Waited]]) -> None:
    everything = [waited for each in rounds for waited in each]
    medians = [statistics.median(waited.by_client for waited in each) for each in rounds]
    late = _percentiles([waited.by_client for waited in everything])
    result.add("client.p50", "start → succeeded minus transform, p50", "ms", medians, at_most(20))
    result.add("client.p99", "start → succeeded minus transform, p99", "ms", late, at_most(60))
    result.add("row.p50", "queued → succeeded minus transform, p50", "ms", spread([each.by_row for each in everything]))
    result.add("row.p99", "queued → succeeded minus transform, p99", "ms", _percentiles([w.by_row for w in everything]))
    for part in everything[0].parts:
        result.add(f"part.{part}", f"of it: {part}", "ms", [each.parts[part] for each in everything])
    result.add(
        "transform", "the transform itself", "ms", [float(each.timing.stages["transform"]) for each in everything]
    )


def _percentiles(samples: list[float]) -> Spread:
    """The 99th percentile of all, beside the 98th and the worst."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    at = [ordered[round(last * share / 100)] for share in (98, _P99, 100)]
    return Spread(at[1], at[0], at[2], len(samples))


def _milliseconds(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds() * 1000
