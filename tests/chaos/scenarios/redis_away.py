"""Redis is unavailable from the start, then starts, then is disturbed under load."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import redis
from tests.chaos import evidence
from tests.chaos.cluster import Cluster
from tests.chaos.report import Part
from tests.chaos.scenarios.load import Load, User, new_user
from tests.chaos.scenarios.observed import check_succeeded, claim_delays, jobs_of, unfinished, warnings
from tests.chaos.scenarios.scenario import Scenario

from pixelflow.adapters.wakeup import KEY

SETTINGS = {"PIXELFLOW_RATE_LIMIT_ENABLED": "true", "PIXELFLOW_RATE_LIMIT_CAPACITY": "1000000"}
PER_SECOND = 8.0
PHASE_SECONDS = 5.0
MAX_DELAY_SECONDS = 2.0
"""From when a job is queued until it is claimed, while places are free."""
MAX_WARNINGS = 6
"""Log lines at warning or above of each process in each phase: one when a client of Redis fails, for each client, and a
few if it fails again after it has recovered."""
MAX_LINES_PER_JOB = 1.5
"""Log lines per job of all processes, as a multiple of those of the undisturbed phase."""
GARBAGE = 2_000


def run(cluster: Cluster, _folder: Path, part: Part) -> None:
    """Run the scenario."""
    user = new_user(cluster)
    phases = [_Phase(cluster, "Redis away from the start", cluster.run_for)]
    with Load(lambda _: user.submit(), per_second=PER_SECOND) as load:
        phases[0].run()
        cluster.valkey.start()
        cluster.run_until(cluster.valkey.startable.is_ready, 10)
        part.count("wake-ups sent and received again after", f"{_until_available(cluster):.1f} s")
        for name, disturb in _DISTURBANCES.items():
            phases.append(_Phase(cluster, name, lambda seconds, disturb=disturb: disturb(cluster, seconds)))  # type: ignore[misc]
            phases[-1].run()
        cluster.run_for(2)
    cluster.run_until(lambda: not unfinished(cluster), 30)
    _report(cluster, part, user, load, phases)


class _Phase:
    """A phase of the scenario, with the log lines that were written in it."""

    def __init__(self, cluster: Cluster, name: str, disturb: Callable[[float], object]) -> None:
        self.name = name
        self.lines = 0
        self.warnings: dict[str, int] = {}
        self.began = self.ended = 0.0
        self._cluster = cluster
        self._disturb = disturb

    def run(self) -> None:
        offset = evidence.database_clock_ahead(self._cluster)
        before = {process.name: len(process.log_lines()) for process in self._cluster.roles}
        self.began = time.time() + offset
        self._disturb(PHASE_SECONDS)
        self.ended = time.time() + offset
        for process in self._cluster.roles:
            lines = process.log_lines()[before[process.name] :]
            self.lines += len(lines)
            self.warnings[process.name] = warnings(lines)


def _until_available(cluster: Cluster) -> float:
    users = [*cluster.apis, *cluster.workers]
    return cluster.run_until(
        lambda: all(process.has_logged(b"wake-ups available again") for process in users), PHASE_SECONDS * 2
    )


def _repeat(cluster: Cluster, seconds: float, action: Callable[[redis.Redis], object]) -> None:
    end = time.monotonic() + seconds
    with redis.Redis.from_url(cluster.environment["PIXELFLOW_REDIS_URL"]) as client:
        while time.monotonic() < end:
            action(client)
            cluster.run_for(0.05)


def _flush(cluster: Cluster, seconds: float) -> None:
    _repeat(cluster, seconds, lambda client: client.flushall())


def _pause(cluster: Cluster, seconds: float) -> None:
    pid = cluster.valkey.pause()
    assert pid is not None
    cluster.run_for(seconds)
    cluster.valkey.resume(pid)


def _push_garbage(cluster: Cluster, seconds: float) -> None:
    chance = random.Random(1)  # noqa: S311 - reproducible, not secret
    garbage = [chance.randbytes(chance.choice((0, 10, 1000))) for _ in range(GARBAGE)] + [bytes(1_000_000)]
    _repeat(cluster, seconds, lambda client: client.lpush(KEY, *garbage))


def _replace_list(cluster: Cluster, seconds: float) -> None:
    _repeat(cluster, seconds, lambda client: client.set(KEY, "not a list"))
    with redis.Redis.from_url(cluster.environment["PIXELFLOW_REDIS_URL"]) as client:
        client.delete(KEY)


_DISTURBANCES: dict[str, Callable[[Cluster, float], None]] = {
    "undisturbed": lambda cluster, seconds: cluster.run_for(seconds),
    "FLUSHALL, again and again": _flush,
    "SIGSTOP of Redis": _pause,
    "garbage in the list": _push_garbage,
    "a string in place of the list": _replace_list,
}


def _report(cluster: Cluster, part: Part, user: User, load: Load, phases: list[_Phase]) -> None:
    jobs = jobs_of(evidence.collect(cluster))
    delays = claim_delays(jobs)
    per_job: dict[str, float] = {}
    for phase in phases:
        mine = [
            delays[job_id]
            for job_id, job in jobs.items()
            if job_id in delays and phase.began <= job.row["queued_at"].timestamp() < phase.ended
        ]
        per_job[phase.name] = phase.lines / max(1, len(mine))
        part.count(
            phase.name,
            f"{len(mine)} jobs, claimed after at most {max(mine, default=0) * 1000:.0f} ms; "
            f"{phase.lines} log lines, {sum(phase.warnings.values())} warnings",
        )
    part.count("longest time until an API responded", f"{user.longest_call_seconds * 1000:.0f} ms")
    part.check("5xx", user.server_errors)
    part.check("requests failed", load.failures)
    part.check(
        f"jobs claimed later than {MAX_DELAY_SECONDS:g} s",
        (f"{job_id}: {seconds:.1f} s" for job_id, seconds in delays.items() if seconds > MAX_DELAY_SECONDS),
    )
    part.check("log floods", [*_floods(phases, per_job)])
    check_succeeded(part, jobs)


def _floods(phases: list[_Phase], per_job: dict[str, float]) -> list[str]:
    allowed = MAX_LINES_PER_JOB * per_job["undisturbed"]
    many = [f"{name}: {lines:.1f} lines per job" for name, lines in per_job.items() if lines > allowed]
    return many + [
        f"{phase.name}: {count} warnings of {process}"
        for phase in phases
        for process, count in phase.warnings.items()
        if count > MAX_WARNINGS
    ]


REDIS = Scenario(
    "redis",
    "Redis away from the start, then disturbed under load",
    run,
    SETTINGS,
    apis=2,
    without=lambda cluster: [cluster.valkey],
)
