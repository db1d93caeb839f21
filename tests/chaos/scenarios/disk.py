"""The disk of one of two workers is full while jobs are started. Mounting a small file system requires root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import evidence
from tests.chaos.cluster import Cluster
from tests.chaos.evidence import JobEvidence
from tests.chaos.managed_process import ManagedProcess
from tests.chaos.report import Part
from tests.chaos.scenarios.load import Load, new_user
from tests.chaos.scenarios.observed import check_succeeded, jobs_of, reasons, unfinished
from tests.chaos.scenarios.scenario import Scenario, SettingsOf

SETTINGS = {"PIXELFLOW_MAX_ATTEMPTS": "1"}
MIB = 1024 * 1024
PER_SECOND = 8.0
FULL_SECONDS = 8.0
RECOVERY_SECONDS = 40.0
"""The breaker waits up to 30 s for its next trial."""
MAX_ATTEMPTS = 2


@contextmanager
def small_disk(folder: Path) -> Iterator[SettingsOf | None]:
    """Give the first worker a small disk, without a limit of free bytes: it detects the full disk by failures."""
    mount = shutil.which("mount")
    if os.geteuid() or not mount:
        yield None
        return
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=False)
    if done.returncode:
        yield None
        return
    try:
        yield {"worker-0": {"PIXELFLOW_WORKER_TEMP_DIR": str(folder), "PIXELFLOW_WORKER_MIN_FREE_BYTES": "0"}}
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def run(cluster: Cluster, folder: Path, part: Part) -> None:
    """Run the scenario."""
    user, sick = new_user(cluster), cluster.workers[0]
    filler = folder / "filler"
    with Load(lambda _: user.submit(), per_second=PER_SECOND) as load:
        cluster.run_for(1)
        _fill(filler)
        full_since = time.monotonic()
        out_after = cluster.run_until(lambda: reasons(sick), 20)
        claims_before = _claims(cluster, sick)
        cluster.run_until(lambda: time.monotonic() > full_since + FULL_SECONDS, FULL_SECONDS * 2)
        found = reasons(sick)
        claims_while_full = _claims(cluster, sick) - claims_before
        filler.unlink()
        back_after = cluster.run_until(lambda: not reasons(sick), RECOVERY_SECONDS)
        claims_before = _claims(cluster, sick)
        with contextlib.suppress(TimeoutError):
            cluster.run_until(lambda: _claims(cluster, sick) > claims_before, 10)
        claims_after = _claims(cluster, sick) - claims_before
    cluster.run_until(lambda: not unfinished(cluster), 30)
    jobs = jobs_of(evidence.collect(cluster))
    part.count("worker out after the disk was full", f"{out_after:.1f} s; reasons on /readyz: {found}")
    part.count("its claims while its disk was full", claims_while_full)
    part.count("worker back after the space was back", f"{back_after:.1f} s")
    part.count("attempts of a job, at most", max(len(job.attempts) for job in jobs.values()))
    part.check("requests failed", load.failures)
    part.check("readiness", [] if found == ["resources"] else [f"reasons while the disk was full: {found}"])
    part.check("claims after the space was back", [] if claims_after else ["none within 10 s"])
    part.check(f"jobs with more than {MAX_ATTEMPTS} attempts", _with_many_attempts(jobs))
    check_succeeded(part, jobs)


def _with_many_attempts(jobs: Mapping[str, JobEvidence]) -> Iterator[str]:
    for job_id, job in jobs.items():
        if len(job.attempts) > MAX_ATTEMPTS:
            yield f"{job_id}: {[attempt['outcome'] for attempt in job.attempts]}"


def _fill(filler: Path) -> None:
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def _claims(cluster: Cluster, worker: ManagedProcess) -> int:
    with evidence.open_database(cluster) as connection:
        row = connection.execute(
            "SELECT count(*) AS claims FROM attempts WHERE worker_id LIKE %s", (f"%:{worker.pid}",)
        ).fetchone()
    return row["claims"] if row else 0


DISK = Scenario("disk", "A worker with a full disk beside a healthy one", run, SETTINGS, prepared=small_disk)
