"""Observations of a scenario: readiness of workers, outcomes of jobs, log lines. Read-only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.chaos import evidence
from tests.chaos.cluster import Cluster
from tests.chaos.evidence import Evidence, JobEvidence
from tests.chaos.managed_process import ManagedProcess
from tests.chaos.report import Part

_WARNINGS = {"warning", "error", "critical"}


def reasons(process: ManagedProcess) -> list[str]:
    """Return why a process is not ready; empty if it is ready, or does not answer."""
    ports = [line["port"] for line in process.log_lines() if line.get("event") == "metrics served"]
    try:
        answer = httpx.get(f"http://127.0.0.1:{ports[-1]}/readyz", timeout=2) if ports else None
    except httpx.HTTPError:
        return []
    return [] if answer is None or answer.is_success else list(answer.json()["reasons"])


@dataclass
class ReadinessWatch:
    """Collects the reasons for which processes were not ready."""

    processes: Iterable[ManagedProcess]
    seen: dict[str, set[str]] = field(default_factory=dict)
    """Name of the process → reasons."""
    first_at: float | None = None
    """When a process was first found not to be ready, by the monotonic clock."""

    def look(self) -> bool:
        """Look once; returns whether all processes are ready."""
        found = {process.name: reasons(process) for process in self.processes}
        for name, each in found.items():
            self.seen.setdefault(name, set()).update(each)
            if each and self.first_at is None:
                self.first_at = time.monotonic()
        return not any(found.values())


def unfinished(cluster: Cluster) -> int:
    """Count the jobs that are queued or processing."""
    return evidence.unsettled(cluster)["jobs"]


def jobs_of(kept: Evidence, job_ids: Iterable[str] | None = None) -> Mapping[str, JobEvidence]:
    """Return the jobs that were started, or those with these IDs."""
    return {
        job_id: job
        for job_id, job in kept.jobs.items()
        if (job.status != "created" if job_ids is None else job_id in set(job_ids))
    }


def check_succeeded(part: Part, jobs: Mapping[str, JobEvidence], *, counted_attempts: int | None = 1) -> None:
    """Check that each job succeeded, and used no more attempts than that; None: any number."""
    part.count("jobs, attempts", f"{len(jobs)}, {sum(len(job.attempts) for job in jobs.values())}")
    part.check("jobs that did not succeed", (f"{name} {job.status}" for name, job in jobs.items() if not _is_good(job)))
    if counted_attempts is not None:
        used = {name: job.row["attempts"] for name, job in jobs.items()}
        part.check(
            "jobs with attempts used up", (f"{name}: {n} attempts" for name, n in used.items() if n > counted_attempts)
        )


def _is_good(job: JobEvidence) -> bool:
    return job.status == "succeeded" and len(job.usage) == 1


def claim_delays(jobs: Mapping[str, JobEvidence]) -> dict[str, float]:
    """Return the seconds from when each job was queued until its first claim, by the database's clock."""
    return {
        job_id: (job.attempts[0]["started_at"] - job.row["queued_at"]).total_seconds()
        for job_id, job in jobs.items()
        if job.attempts
    }


def warnings(lines: Iterable[Mapping[str, Any]]) -> int:
    """Count the log lines of level warning or above."""
    return sum(line.get("level") in _WARNINGS for line in lines)
