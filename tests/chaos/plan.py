"""The plan of a run: all random decisions, drawn from one seed before the run.

It never depends on the running system: the same seed and numbers give the same plan on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

JOBS_PER_SECOND = 8.0
SECONDS_PER_KILL = 3.0
DISTURBANCES_PER_KILL = 0.25
DOWN_SECONDS = (0.1, 1.5)
"""Range of seconds that a killed process stays down."""
LULL_SECONDS = 3.0
"""Seconds of undisturbed traffic before the first fault."""

_T = TypeVar("_T")


class FaultKind(StrEnum):
    """A kind of fault."""

    KILL_WORKER = "kill worker"
    KILL_CHILD = "kill transform child"
    KILL_API = "kill API"
    KILL_CONTROLLER = "kill controller"
    KILL_VALKEY = "kill Valkey"
    KILL_VALKEY_DATA = "kill Valkey, lose its data"
    KILL_POSTGRES = "kill Postgres"
    KILL_S3 = "kill S3"
    CUT_S3 = "S3 down for 20 s"
    FREEZE_S3 = "S3 frozen for 20 s"
    PAUSE_WORKER = "pause worker beyond its leases"
    PAUSE_CONTROLLER = "pause controller"
    EXPIRE_LEASES = "expire all leases"
    FLUSH_VALKEY = "flush Valkey"
    STOP_WORKER = "stop worker"


KILLS = {
    FaultKind.KILL_WORKER: 14,
    FaultKind.KILL_CHILD: 14,
    FaultKind.KILL_API: 8,
    FaultKind.KILL_CONTROLLER: 7,
    FaultKind.KILL_VALKEY: 4,
    FaultKind.KILL_VALKEY_DATA: 4,
    FaultKind.KILL_POSTGRES: 5,
    FaultKind.KILL_S3: 4,
}
"""Faults by SIGKILL → their relative frequency."""
DISTURBANCES = {
    FaultKind.PAUSE_WORKER: 4,
    FaultKind.EXPIRE_LEASES: 3,
    FaultKind.STOP_WORKER: 3,
    FaultKind.FLUSH_VALKEY: 2,
    FaultKind.PAUSE_CONTROLLER: 2,
    FaultKind.CUT_S3: 1,
    FaultKind.FREEZE_S3: 1,
}


@dataclass(frozen=True)
class Fault:
    """A fault."""

    at: float
    """Seconds after the first job."""
    kind: FaultKind
    choice: float
    """From 0 to 1: selects one of several processes."""
    down_seconds: float
    """Seconds until the killed process is restarted."""


class Picture(StrEnum):
    """The kind of file that a client uploads."""

    SMALL = "small"
    LARGE = "large"
    DAMAGED = "damaged"
    NO_PICTURE = "no picture"


class ClientAction(StrEnum):
    """What a client does after it has started a job."""

    WAIT = "wait"
    CANCEL = "cancel"
    RETRY = "cancel, then retry"
    ERASE = "erase"


class Behavior(StrEnum):
    """How the receiver of a job's webhook answers."""

    GOOD = "good"
    """200, at once."""
    SHAKY = "shaky"
    """500, then a closed connection, then 200."""
    HANGING = "hanging"
    """No answer the first time, then 200."""
    NONE = "none"
    """The job has no receiver."""


_PICTURES = {Picture.SMALL: 71, Picture.LARGE: 25, Picture.DAMAGED: 2, Picture.NO_PICTURE: 2}
_ACTIONS = {ClientAction.WAIT: 82, ClientAction.CANCEL: 6, ClientAction.RETRY: 6, ClientAction.ERASE: 6}
_BEHAVIORS = {Behavior.GOOD: 80, Behavior.SHAKY: 8, Behavior.HANGING: 2, Behavior.NONE: 10}


@dataclass(frozen=True)
class PlannedJob:
    """A job that a client submits."""

    number: int
    at: float
    """Seconds after the first job."""
    picture: Picture
    action: ClientAction
    action_delay: float
    """Seconds between the response to the start request and the action."""
    behavior: Behavior


@dataclass(frozen=True)
class Plan:
    """The plan of a complete run."""

    seed: int
    jobs: Sequence[PlannedJob]
    faults: Sequence[Fault]
    seconds: float


def make_plan(seed: int, *, jobs: int, kills: int) -> Plan:
    """Draw a plan, with every kind of fault at least once where the numbers allow it."""
    seconds = LULL_SECONDS + max(jobs / JOBS_PER_SECOND, kills * SECONDS_PER_KILL)
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    planned = [_job(chance, number, at=number * seconds / jobs) for number in range(jobs)]
    kinds = _deal(chance, KILLS, kills) + _deal(chance, DISTURBANCES, round(kills * DISTURBANCES_PER_KILL))
    faults = sorted((_fault(chance, kind, seconds) for kind in kinds), key=lambda fault: fault.at)
    return Plan(seed, planned, faults, seconds)


def _job(chance: random.Random, number: int, *, at: float) -> PlannedJob:
    return PlannedJob(
        number=number,
        at=at,
        picture=_draw(chance, _PICTURES),
        action=_draw(chance, _ACTIONS),
        action_delay=chance.choice((0.0, 0.1, 0.5, 2.0)),
        behavior=_draw(chance, _BEHAVIORS),
    )


def _fault(chance: random.Random, kind: FaultKind, seconds: float) -> Fault:
    return Fault(
        at=chance.uniform(LULL_SECONDS, seconds),
        kind=kind,
        choice=chance.random(),
        down_seconds=chance.uniform(*DOWN_SECONDS),
    )


def _deal(chance: random.Random, weights: dict[_T, int], count: int) -> list[_T]:
    """Draw ``count`` kinds: each one once in random order, then by weight."""
    once = chance.sample(list(weights), len(weights))
    return once[:count] + [_draw(chance, weights) for _ in range(count - len(once))]


def _draw(chance: random.Random, weights: dict[_T, int]) -> _T:
    return chance.choices(list(weights), list(weights.values()))[0]
