"""Figures: medians with their spread and their targets. Independent of how they are measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

QUARTERS = 4


class BenchError(Exception):
    """The benchmark itself failed."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some samples."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""
    samples: int


def spread(samples: Sequence[float]) -> Spread:
    """Compute median and quartiles.

    Raises:
        BenchError: ``samples`` is empty.
    """
    if not samples:
        raise BenchError("nothing was measured")
    if len(samples) == 1:
        return Spread(samples[0], samples[0], samples[0], 1)
    low, median, high = statistics.quantiles(samples, n=QUARTERS, method="inclusive")
    return Spread(median, low, high, len(samples))


def late_spread(samples: Sequence[float]) -> Spread:
    """Return the 99th percentile, with the 98th and the maximum as its spread.

    Raises:
        BenchError: ``samples`` is empty.
    """
    if not samples:
        raise BenchError("nothing was measured")
    ordered = sorted(samples)
    last = len(ordered) - 1
    at = [ordered[round(last * share / 100)] for share in (98, 99, 100)]
    return Spread(at[1], at[0], at[2], len(samples))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each round: a disturbance affects both contenders of the same round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def differences(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the difference of each round, in the unit of the samples."""
    return [one - other for one, other in zip(ours, theirs, strict=True)]


@dataclass(frozen=True)
class Target:
    """The target for a figure's median."""

    kind: Literal["at most", "at least"]
    value: float

    def met_by(self, measured: float) -> bool:
        """Return whether the median ``measured`` meets the target."""
        return measured <= self.value if self.kind == "at most" else measured >= self.value


def at_most(value: float) -> Target:
    """Return an upper bound."""
    return Target("at most", value)


def at_least(value: float) -> Target:
    """Return a lower bound."""
    return Target("at least", value)


@dataclass(frozen=True)
class Figure:
    """One row of a table."""

    name: str
    """Such as ``jpeg_640.around``. Stable, so that two runs can be compared."""
    title: str
    unit: str
    """Such as ``ms``; ``×`` for ratios."""
    measured: Spread
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        return self.target.met_by(self.measured.median) if self.target else None

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of the results file."""
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
    """The result of a section."""

    section: str
    about: list[str] = field(default_factory=list)
    """Sentences that describe what was compared, and how."""
    figures: list[Figure] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the servers that the section started."""

    def add(
        self, name: str, title: str, unit: str, samples: Sequence[float] | Spread, target: Target | None = None
    ) -> None:
        """Add a figure."""
        measured = samples if isinstance(samples, Spread) else spread(samples)
        self.figures.append(Figure(name, title, unit, measured, target))


def _rounded(value: float) -> float:
    """Round to four significant digits; more would only differ from run to run."""
    return float(f"{value:.4g}")
