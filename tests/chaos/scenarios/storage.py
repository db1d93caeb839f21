"""Object storage hangs, then refuses connections, while jobs are processed and started.

Leases of one second, one attempt per job and half a minute of outage stand for the defaults and ten minutes or more: an
attempt that counted would fail its job, and the outage lasts many leases and longer than the timeout of a transfer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import evidence
from tests.chaos.cluster import Cluster
from tests.chaos.report import Part
from tests.chaos.scenarios.load import Load, User, new_user
from tests.chaos.scenarios.observed import ReadinessWatch, check_succeeded, jobs_of, unfinished
from tests.chaos.scenarios.scenario import Scenario

from pixelflow.adapters.storage.connections import STALL_SECONDS

SETTINGS = {"PIXELFLOW_LEASE_SECONDS": "1", "PIXELFLOW_MAX_ATTEMPTS": "1"}
BACKLOG = 40
STARTED_MEANWHILE = 40
FIRST_SECONDS = 0.1
HANG_SECONDS = STALL_SECONDS + 3
REFUSE_SECONDS = 7.0
RECOVERY_SECONDS = 60.0
"""A breaker or a job waits up to 30 s for its next trial."""


def run(cluster: Cluster, _folder: Path, part: Part) -> None:
    """Run the scenario."""
    user = new_user(cluster)
    job_ids = [user.create() for _ in range(BACKLOG + STARTED_MEANWHILE)]
    watch = ReadinessWatch(cluster.workers)
    backlog, later = job_ids[:BACKLOG], job_ids[BACKLOG:]
    _start_backlog(cluster, user, backlog)
    cluster.s3.pause()
    away_since = time.monotonic()
    rate = len(later) / (HANG_SECONDS + REFUSE_SECONDS)
    with Load(lambda number: user.start(later[number]), per_second=rate, count=len(later)) as meanwhile:
        _look_for(cluster, watch, HANG_SECONDS)
        in_progress = unfinished(cluster)
        cluster.s3.kill(down_seconds=REFUSE_SECONDS)
        _look_for(cluster, watch, REFUSE_SECONDS)
        cluster.run_until(cluster.s3.startable.is_ready, 20)
        away_seconds = time.monotonic() - away_since
        cluster.run_until(lambda: meanwhile.is_over and not unfinished(cluster), RECOVERY_SECONDS)
        recovered = time.monotonic() - away_since - away_seconds
    cluster.run_until(watch.look, RECOVERY_SECONDS)
    part.count("jobs queued or in progress meanwhile", in_progress)
    part.count("storage away", f"{away_seconds:.0f} s: hanging {HANG_SECONDS:.0f} s, then refusing connections")
    if watch.first_at is not None:
        part.count("first breaker open after", f"{watch.first_at - away_since:.0f} s")
    part.count("all jobs ended after it was back", f"{recovered:.1f} s")
    part.count("start requests answered 503 and repeated", user.statuses[503])
    part.count("reasons on /readyz", ", ".join(f"{name}: {sorted(seen)}" for name, seen in watch.seen.items()))
    part.check("requests failed", meanwhile.failures)
    part.check(
        "workers whose breaker was not open",
        (name for name, seen in watch.seen.items() if "object_storage" not in seen),
    )
    check_succeeded(part, jobs_of(evidence.collect(cluster), job_ids))


def _start_backlog(cluster: Cluster, user: User, job_ids: Sequence[str]) -> None:
    """Start these jobs, and let the workers begin with the first."""
    pids = [worker.pause() for worker in cluster.workers]
    for job_id in job_ids:
        user.start(job_id)
    for worker, pid in zip(cluster.workers, pids, strict=True):
        assert pid is not None
        worker.resume(pid)
    cluster.run_for(FIRST_SECONDS)


def _look_for(cluster: Cluster, watch: ReadinessWatch, seconds: float) -> None:
    end = time.monotonic() + seconds

    def look() -> bool:
        watch.look()
        return time.monotonic() >= end

    cluster.run_until(look, seconds * 2)


STORAGE = Scenario("storage", "Object storage away under load", run, SETTINGS)
