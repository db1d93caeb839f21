"""What was measured: medians with their spread, beside what is wanted of them. Knows nothing of how it was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

QUARTERS = 4


class BenchError(Exception):
    """The benchmark itself could not be done; says nothing of what it measures."""


@dataclass(frozen=True)
class Spread:
    """The middle of some samples, and where the middle half of them lies."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""
    samples: int


def spread(samples: Sequence[float]) -> Spread:
    """Median and quartiles.

    Raises:
        BenchError: there is no sample.
    """
    if not samples:
        raise BenchError("nothing was measured")
    if len(samples) == 1:
        return Spread(samples[0], samples[0], samples[0], 1)
    low, median, high = statistics.quantiles(samples, n=QUARTERS, method="inclusive")
    return Spread(median, low, high, len(samples))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round: what disturbs one round disturbs both of its sides."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def differences(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """As :func:`ratios`, in the samples' own unit."""
    return [one - other for one, other in zip(ours, theirs, strict=True)]


@dataclass(frozen=True)
class Target:
    """What is wanted of a figure's median."""

    kind: Literal["at most", "at least"]
    value: float

    def met_by(self, measured: float) -> bool:
        """Whether the figure is as wanted."""
        return measured <= self.value if self.kind == "at most" else measured >= self.value


def at_most(value: float) -> Target:
    """No more than this."""
    return Target("at most", value)


def at_least(value: float) -> Target:
    """No less than this."""
    return Target("at least", value)


@dataclass(frozen=True)
class Figure:
    """One line of a table."""

    name: str
    """Stable, such as ``jpeg_640.around``: by it two runs are compared."""
    title: str
    unit: str
    """Such as ``ms``; ``×`` for ratios."""
    measured: Spread
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether it is as wanted; ``None``: nothing is wanted of it."""
        return self.target.met_by(self.measured.median) if self.target else None

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "median": _rounded(self.measured.median),
            "low": _rounded(self.measured.low),
            "high": _rounded(self.measured.high),
            "samples": self.measured.samples,
            "target": {"kind": self.target.kind, "value": self.target.value} if self.target else None,
            "met": self.met,
        }


@dataclass
class Result:
    """What a section has found out."""

    section: str
    about: list[str] = field(default_factory=list)
    """Sentences: what was compared, and how."""
    figures: list[Figure] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    """Of what it started, beyond what is installed."""

    def add(
        self, name: str, title: str, unit: str, samples: Sequence[float] | Spread, target: Target | None = None
    ) -> None:
        """One more figure."""
        measured = samples if isinstance(samples, Spread) else spread(samples)
        self.figures.append(Figure(name, title, unit, measured, target))


def _rounded(value: float) -> float:
    """Four digits that count: more would only differ from run to run."""
    return float(f"{value:.4g}")
