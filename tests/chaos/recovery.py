"""Recovery times of jobs after the death of their worker, and how much of it was unavoidable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.cluster import Cluster
from tests.chaos.evidence import Evidence, JobEvidence
from tests.chaos.managed_process import Outage

from pixelflow.dataplane.worker.resources import capacity_of

ALLOWED_BEYOND_LEASE = 5.0
START_SECONDS = 3.0
"""Seconds that a worker or controller needs to start on a busy machine."""
Span = tuple[float, float]


@dataclass(frozen=True)
class Recovery:
    """One job whose worker was killed, and its next attempt."""

    job_id: str
    seconds: float
    """Seconds from the death to the next attempt."""
    unavailable_seconds: float
    """Seconds of it in which a server, all workers or all controllers were down, or all worker threads were busy."""

    @property
    def own_seconds(self) -> float:
        """Seconds that PixelFlow itself is responsible for."""
        return self.seconds - self.unavailable_seconds


def recoveries(cluster: Cluster, evidence: Evidence, *, clock_ahead: float) -> list[Recovery]:
    """Return the recoveries of all killed workers' jobs, longest first.

    ``clock_ahead``: seconds by which the database's clock is ahead of this process's clock.
    """
    away = unavailable_spans(
        needed=[server.outages for server in cluster.servers],
        replicas=[[process.outages for process in replicas] for replicas in (cluster.workers, cluster.controllers)],
    )
    outages = [outage for worker in cluster.workers for outage in worker.outages]
    full = saturated_spans(
        outages,
        evidence,
        threads=capacity_of(cluster.settings).places,
        workers=len(cluster.workers),
        clock_ahead=clock_ahead,
    )
    found = recoveries_of(outages, evidence, _united([*away, *full]), clock_ahead=clock_ahead)
    return sorted(found, key=lambda recovery: recovery.own_seconds, reverse=True)


def recoveries_of(
    outages: Iterable[Outage], evidence: Evidence, unavailable: Sequence[Span], *, clock_ahead: float
) -> list[Recovery]:
    """Return a recovery for each job that a killed worker was processing."""
    return [
        _recovery(job_id, death.began, begins, unavailable)
        for death in outages
        if death.killed
        for job_id, job in evidence.jobs.items()
        if (begins := _next_attempt(job, death, clock_ahead)) is not None
    ]


def _next_attempt(job: JobEvidence, death: Outage, clock_ahead: float) -> float | None:
    """Return when the job's attempt after that death started; None if another worker had it or no attempt followed."""
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


def _recovery(job_id: str, death: float, begins: float, unavailable: Sequence[Span]) -> Recovery:
    overlap = sum(max(0.0, min(end, begins) - max(start, death)) for start, end in unavailable)
    return Recovery(job_id, begins - death, overlap)


def unavailable_spans(
    *, needed: Iterable[Iterable[Outage]], replicas: Iterable[Sequence[Iterable[Outage]]]
) -> list[Span]:
    """Return the spans without any chance of an attempt: a needed process, or all processes of a role, were down."""
    spans = [span for outages in needed for span in _spans(outages, 0)]
    for each in replicas:
        spans += _all_at_once([_spans(outages, START_SECONDS) for outages in each])
    return _united(spans)


def saturated_spans(
    outages: Iterable[Outage], evidence: Evidence, *, threads: int, workers: int, clock_ahead: float
) -> list[Span]:
    """Return the spans in which every thread of every running worker was busy."""
    by_worker: dict[str, list[Outage]] = {}
    for outage in outages:
        by_worker.setdefault(outage.name, []).append(outage)
    changes = [
        change
        for each in by_worker.values()
        for start, end in _spans(each, START_SECONDS)
        for change in ((start, -threads), (end, threads))
    ]
    for job in evidence.jobs.values():
        for attempt in job.attempts:
            if attempt["outcome"] != "lost" and attempt["ended_at"] is not None:
                changes.append((attempt["started_at"].timestamp() - clock_ahead, -1))
                changes.append((attempt["ended_at"].timestamp() - clock_ahead, 1))
    full, free, since = [], threads * workers, None
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


def _all_at_once(replicas: Sequence[Sequence[Span]]) -> list[Span]:
    common = list(replicas[0])
    for other in replicas[1:]:
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
