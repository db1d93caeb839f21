"""Signals to a worker at odd moments: SIGSTOP, SIGTERM, SIGCONT; and a second SIGTERM."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.chaos import evidence
from tests.chaos.cluster import Cluster
from tests.chaos.faults import STARTED
from tests.chaos.managed_process import ManagedProcess
from tests.chaos.plan import Picture
from tests.chaos.report import Part
from tests.chaos.scenarios.load import User, new_user
from tests.chaos.scenarios.observed import check_succeeded, jobs_of, unfinished
from tests.chaos.scenarios.scenario import Scenario

GRACE_SECONDS = 10.0
SETTINGS = {"PIXELFLOW_LEASE_SECONDS": "5", "PIXELFLOW_WORKER_GRACE_SECONDS": str(GRACE_SECONDS)}
ROUNDS = 3
STOPPED_SECONDS = 1.0
EXIT_SECONDS = 1.0
"""From the end of the last job, or of the grace period, until the process is gone."""
HURRIED_SECONDS = 3.0
"""From a second SIGTERM until the process is gone; it releases its jobs within two."""
JOB = [{"id": f"n{n}", "action": "resize", "width": 1300 + n, "format": "avif"} for n in range(2)]
"""Takes a child about a second."""
LONG_JOB = [
    {"id": f"n{n}", "action": "resize", "width": 4000 + n, "enlarge": True, "format": "avif"} for n in range(20)
]
"""Takes a child longer than the grace period."""


def run(cluster: Cluster, _folder: Path, part: Part) -> None:
    """Run the scenario."""
    user, [worker], [controller] = new_user(cluster), cluster.workers, cluster.controllers
    drains = [_stop_term_continue(cluster, user, worker) for _ in range(ROUNDS)]
    controller_seconds = _seconds_until_gone(cluster, controller, _signal_while_stopped(controller))
    hurried, long_job = _second_term(cluster, user, worker)
    cluster.run_until(lambda: not unfinished(cluster), 60)
    jobs = jobs_of(evidence.collect(cluster))
    part.count("worker gone after SIGCONT", ", ".join(f"{drain['seconds']:.1f} s" for drain in drains))
    part.count("  jobs that it finished, released", ", ".join(str(drain["outcomes"]) for drain in drains))
    part.count("controller gone after SIGCONT", f"{controller_seconds:.1f} s")
    part.count("worker gone after a second SIGTERM", f"{hurried:.1f} s of a grace period of {GRACE_SECONDS:.0f} s")
    limit = GRACE_SECONDS + EXIT_SECONDS
    part.check(
        "workers that did not end within their grace period",
        (str(drain) for drain in drains if drain["seconds"] > limit or drain["exit"] != "exit code 0"),
    )
    part.check("workers that did not drain", (str(drain) for drain in drains if not drain["is_drained"]))
    part.check("controller", [f"{controller_seconds} s"] if controller_seconds > EXIT_SECONDS else [])
    part.check("a second SIGTERM", [f"{hurried} s"] if hurried > HURRIED_SECONDS else [])
    part.check(
        "the released job",
        [] if len(jobs[long_job].attempts) == 2 else [f"{len(jobs[long_job].attempts)} attempts"],
    )
    check_succeeded(part, jobs)


def _stop_term_continue(cluster: Cluster, user: User, worker: ManagedProcess) -> dict[str, Any]:
    job_ids = [user.submit(JOB, Picture.LARGE) for _ in range(4)]
    cluster.run_until(lambda: _processing(cluster, job_ids), 10)
    cluster.run_for(0.2)  # until the first has a slot
    at_hand = [attempt for attempt, outcome in _attempts(cluster, worker.pid).items() if outcome is None]
    pid, child = _signal_while_stopped(worker), worker.child
    seconds = _seconds_until_gone(cluster, worker, pid)
    outcomes = [outcome for attempt, outcome in _attempts(cluster, pid).items() if attempt in at_hand]
    cluster.run_until(lambda: worker.has_logged(STARTED), 20)
    return {
        "seconds": seconds,
        "exit": child.exit_status if child else "none",
        "outcomes": (outcomes.count("succeeded"), outcomes.count("retried")),
        "is_drained": "succeeded" in outcomes and not set(outcomes) - {"succeeded", "retried"},
    }


def _signal_while_stopped(process: ManagedProcess) -> int:
    pid = process.pause()
    assert pid is not None
    process.request_stop(down_seconds=0)
    time.sleep(STOPPED_SECONDS)
    os.kill(pid, signal.SIGCONT)
    return pid


def _seconds_until_gone(cluster: Cluster, process: ManagedProcess, pid: int | None) -> float:
    return cluster.run_until(lambda: process.pid != pid, GRACE_SECONDS * 3)


def _second_term(cluster: Cluster, user: User, worker: ManagedProcess) -> tuple[float, str]:
    job_id = user.submit(LONG_JOB, Picture.LARGE)
    cluster.run_until(lambda: _processing(cluster, [job_id]), 10)
    cluster.run_for(1)
    pid = worker.pid
    worker.request_stop(down_seconds=0)
    cluster.run_for(1)
    if worker.pid != pid:
        return float("inf"), job_id  # it did not wait for its job
    worker.request_stop(down_seconds=0)
    return _seconds_until_gone(cluster, worker, pid), job_id


def _attempts(cluster: Cluster, pid: int | None) -> dict[tuple[Any, int], str | None]:
    """Return the outcomes of the attempts of a worker's process, by job and number."""
    with evidence.open_database(cluster) as connection:
        rows = connection.execute(
            "SELECT job_id, attempt, outcome FROM attempts WHERE worker_id LIKE %s", (f"%:{pid}",)
        ).fetchall()
    return {(row["job_id"], row["attempt"]): row["outcome"] for row in rows}


def _processing(cluster: Cluster, job_ids: list[str]) -> bool:
    with evidence.open_database(cluster) as connection:
        row = connection.execute(
            "SELECT count(*) AS jobs FROM jobs WHERE status = 'processing' AND job_id = ANY (%s::uuid[])", (job_ids,)
        ).fetchone()
    return bool(row and row["jobs"])


SIGNALS = Scenario("signals", "SIGSTOP, SIGTERM, SIGCONT; a second SIGTERM", run, SETTINGS, workers=1)
