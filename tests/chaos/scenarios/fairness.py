"""Users with backlogs of different jobs share the workers, which are killed at random meanwhile.

Start-time fair queueing bounds the difference between the processor time charged to two backlogged users by the sum
of their largest jobs (Goyal, Vin, Cheng, 1996, theorem 1). PixelFlow charges an average at the claim and corrects it at
the end, so the errors of the jobs in progress add to it. What a lost attempt was charged stays charged.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.chaos import evidence
from tests.chaos.cluster import Cluster
from tests.chaos.faults import STARTED, children_of
from tests.chaos.pictures import make_pictures
from tests.chaos.plan import Picture
from tests.chaos.report import Part
from tests.chaos.scenarios.load import Load, User, new_user
from tests.chaos.scenarios.scenario import Scenario, SettingsOf

SETTINGS = {"PIXELFLOW_LEASE_SECONDS": "2", "PIXELFLOW_MAX_ATTEMPTS": "100"}
FILE = "photo.jpg"
MAX_SECONDS = 18.0
MIN_SECONDS = 12.0
MIN_WAITING = 20
"""The measurement ends when a user has fewer jobs left: shares are equal among backlogged users only."""
KILL_EVERY_SECONDS = 2.5
DOWN_SECONDS = 0.2
MAX_DIFFERENCE = 0.05
"""Of a user's charged processor time from the mean, as a part of it: about two of the largest jobs."""
MAX_USED_DIFFERENCE = 0.25
"""The same of the processor time that the user's attempts used: some is lost with killed workers, but stays charged."""
MAX_GAP_SECONDS = 3.0
"""Between two claims of a user, without the time in which no job was claimed at all."""
IDLE_SECONDS = 0.5
"""Time without claims that is due to the killed workers."""


@dataclass(frozen=True)
class Kind:
    """What one of the users submits."""

    user_id: str
    width: int
    format: str
    jobs: int

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The pipeline."""
        return [{"id": "only", "action": "resize", "width": self.width, "format": self.format}]


KINDS = (
    Kind("thumbnails", 240, "webp", 900),
    Kind("previews", 800, "jpeg", 500),
    Kind("webps", 1000, "webp", 200),
    Kind("avifs", 1000, "avif", 120),
)


@dataclass(frozen=True)
class Sample:
    """One user at one time."""

    waiting: int
    charged_ms: float
    """Processor time charged to the user, from an arbitrary start."""
    used_ms: float
    """Processor time of the user's attempts that ended, without lost ones."""


Samples = Mapping[str, Sample]
"""By user."""
_SAMPLE = """
    SELECT user_id, waiting, virtual_ms AS charged_ms,
           coalesce((SELECT sum(compute_time_ms) FROM usage_logs AS u WHERE u.user_id = lane.user_id), 0)::float8
         + coalesce((SELECT sum(compute_time_ms) FROM failed_usage AS f WHERE f.user_id = lane.user_id), 0)::float8
           AS used_ms
    FROM queue_lanes AS lane
"""


@contextmanager
def local_files(folder: Path) -> Iterator[SettingsOf | None]:
    """Let sources be local files, so that a backlog of many jobs needs no uploads."""
    (folder / FILE).write_bytes(make_pictures(seed=1)[Picture.LARGE])
    own = {"PIXELFLOW_LOCAL_ROOTS": str(folder), "PIXELFLOW_LOCAL_ACCESS": "shared"}
    yield {"api-0": own, "worker-0": own, "worker-1": own}


def run(cluster: Cluster, folder: Path, part: Part) -> None:
    """Run the scenario."""
    failures = _submit_backlogs(cluster, folder / FILE)
    before = _sample(cluster)
    for worker in cluster.workers:
        worker.start()
    cluster.run_until(lambda: _claims(cluster), 20)
    began = time.monotonic()
    kills, after = _kill_at_random(cluster)
    seconds = time.monotonic() - began
    claims = _claims(cluster)
    cluster.run_until(
        lambda: all(worker.has_logged(STARTED) for worker in cluster.workers), 20
    )  # and removed leftovers
    lost = _lost_attempts(cluster)
    part.count("kills", f"{kills} in {seconds:.0f} s, {len(claims)} claims, {lost} attempts lost")
    charged = {user: after[user].charged_ms - before[user].charged_ms for user in after}
    mean = sum(charged.values()) / len(charged)
    gaps = {user: longest_gap(claims, user) for user in after}
    for user, sample in after.items():
        part.count(
            f"  {user}",
            f"charged {charged[user] / 1000:.2f} s, {charged[user] / mean:.1%} of the mean; "
            f"used {sample.used_ms / 1000:.2f} s; longest time without a claim {gaps[user]:.1f} s",
        )
    part.check("requests failed", failures)
    part.check("backlogs too short", [f"{seconds:.0f} s"] if seconds < MIN_SECONDS else [])
    part.check("kills without effect", [] if lost else ["no attempt was lost"])
    part.check(
        f"users whose share differs from the mean by more than {MAX_DIFFERENCE:.0%}",
        _unequal(charged, MAX_DIFFERENCE),
    )
    used = {user: sample.used_ms for user, sample in after.items()}
    part.check(
        f"users who used more or less than the mean by {MAX_USED_DIFFERENCE:.0%}", _unequal(used, MAX_USED_DIFFERENCE)
    )
    part.check(
        "users charged less than they used",
        (f"{user}: {charged[user]:.0f} ms" for user, sample in after.items() if charged[user] < sample.used_ms),
    )
    part.check(
        f"users without a claim for more than {MAX_GAP_SECONDS:g} s",
        (f"{user}: {gap:.1f} s" for user, gap in gaps.items() if gap > MAX_GAP_SECONDS),
    )


def _unequal(milliseconds: Mapping[str, float], allowed: float) -> Iterator[str]:
    mean = sum(milliseconds.values()) / len(milliseconds)
    for user, each in milliseconds.items():
        if abs(each - mean) > allowed * mean:
            yield f"{user}: {each:.0f} ms, mean {mean:.0f} ms"


def _submit_backlogs(cluster: Cluster, source: Path) -> list[str]:
    """Start all jobs of all users; returns the requests that failed."""
    users = {kind: new_user(cluster, kind.user_id) for kind in KINDS}
    planned = [kind for kind in KINDS for _ in range(kind.jobs)]

    def submit(number: int) -> None:
        kind = planned[number]
        user: User = users[kind]
        user.start(user.create_local(source, kind.steps))

    with Load(submit, per_second=10_000, count=len(planned)) as load:
        cluster.run_until(lambda: load.is_over, 90)
    return load.failures


def _kill_at_random(cluster: Cluster) -> tuple[int, Samples]:
    """Kill workers and children at random until a backlog ends; returns how many, and the last sample before that."""
    chance = random.Random(1)  # noqa: S311 - reproducible, not secret
    kills, end, kill_at = 0, time.monotonic() + MAX_SECONDS, time.monotonic() + KILL_EVERY_SECONDS
    sample = _sample(cluster)
    while time.monotonic() < end:
        cluster.run_for(0.2)
        latest = _sample(cluster)
        if min(user.waiting for user in latest.values()) < MIN_WAITING:
            break
        sample = latest
        if time.monotonic() >= kill_at:
            kill_at += KILL_EVERY_SECONDS
            worker = chance.choice(cluster.workers)
            children = children_of(worker.pid) if worker.pid and chance.random() < 0.25 else []
            if children:
                os.kill(children[0], signal.SIGKILL)
            kills += 1 if children else worker.kill(down_seconds=DOWN_SECONDS)
    return kills, sample


def _sample(cluster: Cluster) -> Samples:
    with evidence.open_database(cluster) as connection:
        rows = connection.execute(_SAMPLE).fetchall()
    return {row["user_id"]: Sample(row["waiting"], row["charged_ms"], row["used_ms"]) for row in rows}


def _claims(cluster: Cluster) -> list[tuple[float, str]]:
    """Return the time and the user of each claim, in order."""
    with evidence.open_database(cluster) as connection:
        rows = connection.execute(
            "SELECT extract(epoch FROM a.started_at)::float8 AS at, user_id"
            " FROM attempts AS a JOIN jobs USING (job_id) ORDER BY a.started_at"
        ).fetchall()
    return [(row["at"], row["user_id"]) for row in rows]


def _lost_attempts(cluster: Cluster) -> int:
    with evidence.open_database(cluster) as connection:
        row = connection.execute("SELECT count(*) AS lost FROM attempts WHERE outcome = 'lost'").fetchone()
    return row["lost"] if row else 0


def longest_gap(claims: Sequence[tuple[float, str]], user_id: str) -> float:
    """Return the longest time without a claim of this user, in seconds, without time in which nobody had one."""
    times = [at for at, _ in claims]
    idle = [(start, end) for start, end in pairwise(times) if end - start > IDLE_SECONDS]
    own = [times[0], *(at for at, user in claims if user == user_id), times[-1]]
    return max(
        end - start - sum(max(0.0, min(end, until) - max(start, since)) for since, until in idle)
        for start, end in pairwise(own)
    )


FAIRNESS = Scenario(
    "fairness",
    "Fair shares while workers are killed",
    run,
    SETTINGS,
    without=lambda cluster: cluster.workers,
    prepared=local_files,
)
