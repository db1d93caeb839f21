"""How long jobs had to wait after their worker's death, and for how much of it nobody could have helped them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.actor import Outage
from tests.chaos.evidence import Evidence, JobEvidence
from tests.chaos.stage import Stage

from pixelflow.dataplane.worker.resources import capacity_of

ALLOWED_BEYOND_LEASE = 5.0
START_SECONDS = 3.0
"""What a worker or controller takes from its start until it works, on a busy machine."""
Span = tuple[float, float]


@dataclass(frozen=True)
class Recovery:
    """One job whose worker was killed, and its next attempt."""

    job_id: str
    seconds: float
    """From the death to the next attempt."""
    helpless_seconds: float
    """Of that, how long a server, all workers or all controllers were away, or every hand was full."""

    @property
    def own_seconds(self) -> float:
        """What PixelFlow itself took."""
        return self.seconds - self.helpless_seconds


def recoveries(stage: Stage, evidence: Evidence, *, clock_ahead: float) -> list[Recovery]:
    """Of all workers that were killed, the longest first; the database's clock is so many seconds ahead of ours."""
    away = helpless_spans(
        needed=[server.outages for server in stage.servers],
        twins=[[actor.outages for actor in twins] for twins in (stage.workers, stage.controllers)],
    )
    outages = [outage for worker in stage.workers for outage in worker.outages]
    full = full_spans(
        outages, evidence, hands=capacity_of(stage.settings).places, workers=len(stage.workers), clock_ahead=clock_ahead
    )
    found = recoveries_of(outages, evidence, _united([*away, *full]), clock_ahead=clock_ahead)
    return sorted(found, key=lambda recovery: recovery.own_seconds, reverse=True)


def recoveries_of(
    outages: Iterable[Outage], evidence: Evidence, helpless: Sequence[Span], *, clock_ahead: float
) -> list[Recovery]:
    """One for each job that a killed worker had in its hands."""
    return [
        _recovery(job_id, death.began, begins, helpless)
        for death in outages
        if death.killed
        for job_id, job in evidence.jobs.items()
        if (begins := _next_attempt(job, death, clock_ahead)) is not None
    ]


def _next_attempt(job: JobEvidence, death: Outage, clock_ahead: float) -> float | None:
    """When the job's attempt after that death began; None if it was in other hands or no attempt came."""
    mine = [
        attempt
        for attempt in job.attempts
        if attempt["worker_id"].endswith(f":{death.pid}")
        and attempt["outcome"] == "lost"
        and attempt["ended_at"].timestamp() - clock_ahead >= death.began
    ]
    if not mine:
        return None
    last = max(attempt["attempt"] for attempt in mine)
    begins = [a["started_at"].timestamp() - clock_ahead for a in job.attempts if a["attempt"] > last]
    return min(begins, default=None)


def _recovery(job_id: str, death: float, begins: float, helpless: Sequence[Span]) -> Recovery:
    overlap = sum(max(0.0, min(end, begins) - max(start, death)) for start, end in helpless)
    return Recovery(job_id, begins - death, overlap)


def helpless_spans(*, needed: Iterable[Iterable[Outage]], twins: Iterable[Sequence[Iterable[Outage]]]) -> list[Span]:
    """When nobody could have begun an attempt: something needed was away, or all of some twins at once."""
    spans = [span for outages in needed for span in _spans(outages, 0)]
    for each in twins:
        spans += _all_at_once([_spans(outages, START_SECONDS) for outages in each])
    return _united(spans)


def full_spans(
    outages: Iterable[Outage], evidence: Evidence, *, hands: int, workers: int, clock_ahead: float
) -> list[Span]:
    """When every thread of every living worker had a job in hand, and the others had to wait for their turn."""
    by_worker: dict[str, list[Outage]] = {}
    for outage in outages:
        by_worker.setdefault(outage.name, []).append(outage)
    changes = [
        change
        for each in by_worker.values()
        for start, end in _spans(each, START_SECONDS)
        for change in ((start, -hands), (end, hands))
    ]
    for job in evidence.jobs.values():
        for attempt in job.attempts:
            if attempt["outcome"] != "lost" and attempt["ended_at"] is not None:
                changes.append((attempt["started_at"].timestamp() - clock_ahead, -1))
                changes.append((attempt["ended_at"].timestamp() - clock_ahead, 1))
    full, free, since = [], hands * workers, None
    for at, change in sorted(changes):
        free += change
        if free <= 0 and since is None:
            since = at
        elif free > 0 and since is not None:
            full.append((since, at))
            since = None
    return full


def _spans(outages: Iterable[Outage], start_seconds: float) -> list[Span]:
    return _united([(outage.began, (outage.ended or float("inf")) + start_seconds) for outage in outages])


def _all_at_once(twins: Sequence[Sequence[Span]]) -> list[Span]:
    common = list(twins[0])
    for other in twins[1:]:
        common = [(max(a, c), min(b, d)) for a, b in common for c, d in other if max(a, c) < min(b, d)]
    return common


def _united(spans: Iterable[Span]) -> list[Span]:
    united: list[Span] = []
    for start, end in sorted(spans):
        if united and start <= united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((start, end))
    return united
