"""What is to happen, and when: everything that a run leaves to chance, drawn from one seed before it begins.

Never looks at the running system: the same seed and numbers give the same plan on every machine.
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
"""How long what was killed stays down."""
LULL_SECONDS = 3.0
"""Jobs come for so long before the first fault."""

_T = TypeVar("_T")


class FaultKind(StrEnum):
    """Something that goes wrong."""

    KILL_WORKER = "kill worker"
    KILL_CHILD = "kill transform child"
    KILL_API = "kill API"
    KILL_CONTROLLER = "kill controller"
    KILL_VALKEY = "kill Valkey"
    KILL_VALKEY_DATA = "kill Valkey, lose its data"
    KILL_POSTGRES = "kill Postgres"
    KILL_S3 = "kill S3"
    CUT_S3 = "S3 away for 20 s"
    FREEZE_S3 = "S3 mute for 20 s"
    PAUSE_WORKER = "pause worker past its leases"
    PAUSE_CONTROLLER = "pause controller"
    EXPIRE_LEASES = "all leases run out"
    FLUSH_VALKEY = "flush Valkey"
    STOP_WORKER = "ask worker to end"


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
"""By ``kill -9``; the number is how often, relative to the others."""
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
    """One thing that goes wrong."""

    at: float
    """Seconds after the first job."""
    kind: FaultKind
    choice: float
    """From 0 to 1: which of several processes it hits."""
    down_seconds: float
    """Until what was killed is started again."""


class Picture(StrEnum):
    """What a client uploads."""

    SMALL = "small"
    LARGE = "large"
    DAMAGED = "damaged"
    NO_PICTURE = "no picture"


class Fate(StrEnum):
    """What a client does after it started a job."""

    WAIT = "wait"
    CANCEL = "cancel"
    RETRY = "cancel, then retry"
    ERASE = "erase"


class Manner(StrEnum):
    """How the receiver that a job names answers."""

    GOOD = "good"
    """200, at once."""
    SHAKY = "shaky"
    """500, then a closed connection, then 200."""
    HANGING = "hanging"
    """No answer the first time, then 200."""
    NONE = "none"
    """The job names no receiver."""


_PICTURES = {Picture.SMALL: 71, Picture.LARGE: 25, Picture.DAMAGED: 2, Picture.NO_PICTURE: 2}
_FATES = {Fate.WAIT: 82, Fate.CANCEL: 6, Fate.RETRY: 6, Fate.ERASE: 6}
_MANNERS = {Manner.GOOD: 80, Manner.SHAKY: 8, Manner.HANGING: 2, Manner.NONE: 10}


@dataclass(frozen=True)
class PlannedJob:
    """One job that a client wants done."""

    number: int
    at: float
    """Seconds after the first job."""
    picture: Picture
    fate: Fate
    fate_after: float
    """Seconds between the start's answer and what comes then."""
    manner: Manner


@dataclass(frozen=True)
class Plan:
    """A whole run."""

    seed: int
    jobs: Sequence[PlannedJob]
    faults: Sequence[Fault]
    seconds: float


def make_plan(seed: int, *, jobs: int, kills: int) -> Plan:
    """Draw a run: every kind of fault at least once where the numbers allow it."""
    seconds = LULL_SECONDS + max(jobs / JOBS_PER_SECOND, kills * SECONDS_PER_KILL)
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    planned = [_job(chance, number, at=number * seconds / jobs) for number in range(jobs)]
    kinds = _deal(chance, KILLS, kills) + _deal(chance, DISTURBANCES, round(kills * DISTURBANCES_PER_KILL))
    faults = sorted((_fault(chance, kind, seconds) for kind in kinds), key=lambda fault: fault.at)
    return Plan(seed, planned, faults, seconds)


def _job(chance: random.Random, number: int, *, at: float) -> PlannedJob:
    return PlannedJob(
        number=number,
        at=at,
        picture=_draw(chance, _PICTURES),
        fate=_draw(chance, _FATES),
        fate_after=chance.choice((0.0, 0.1, 0.5, 2.0)),
        manner=_draw(chance, _MANNERS),
    )


def _fault(chance: random.Random, kind: FaultKind, seconds: float) -> Fault:
    return Fault(
        at=chance.uniform(LULL_SECONDS, seconds),
        kind=kind,
        choice=chance.random(),
        down_seconds=chance.uniform(*DOWN_SECONDS),
    )


def _deal(chance: random.Random, weights: dict[_T, int], count: int) -> list[_T]:
    """Each kind once, in a random order, then by weight; so many in all."""
    once = chance.sample(list(weights), len(weights))
    return once[:count] + [_draw(chance, weights) for _ in range(count - len(once))]


def _draw(chance: random.Random, weights: dict[_T, int]) -> _T:
    return chance.choices(list(weights), list(weights.values()))[0]
