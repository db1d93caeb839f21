"""Repetitions: of a real run, or of a tiny one that only checks that the benchmark works."""

from __future__ import annotations

from dataclasses import dataclass, field

MEGAPIXEL = 1_000_000


@dataclass(frozen=True)
class Counts:
    """Repetitions of a run that takes at most 20 minutes on two cores."""

    rounds: int = 7
    """Rounds in which the contenders alternate."""
    pictures: dict[str, int] = field(default_factory=lambda: {"jpeg_640": 60, "webp_4": 12, "watermark": 16})
    """Per contender, round and case."""
    plan_pictures: dict[str, int] = field(
        default_factory=lambda: {"gradient_jpeg": 25, "gradient_watermark": 8, "photo_jpeg": 25}
    )
    throughput_jobs: dict[str, int] = field(default_factory=lambda: {"jpeg_640": 200, "webp_4": 24})
    throughput_rounds: int = 5
    latency_rounds: int = 5
    latency_jobs: int = 60
    """Per round."""
    api_rounds: int = 7
    api_pairs: int = 300
    """Pairs of create and start, per round."""
    memory_megapixels: tuple[int, ...] = (12, 24, 50, 100)
    soak_jobs: int = 2000
    fetch_sharp: bool = True
    """Whether sharp may be installed into the user's cache folder if it is missing."""
    sources: int | None = None
    """Number of photos; None for all."""


TINY = Counts(
    rounds=2,
    pictures={"jpeg_640": 2, "webp_4": 1, "watermark": 1},
    plan_pictures={"gradient_jpeg": 1, "gradient_watermark": 1, "photo_jpeg": 1},
    throughput_jobs={"jpeg_640": 4, "webp_4": 1},
    throughput_rounds=1,
    latency_rounds=2,
    latency_jobs=2,
    api_rounds=2,
    api_pairs=6,
    memory_megapixels=(1,),
    soak_jobs=20,
    fetch_sharp=False,
    sources=1,
)
"""The figures of such a run mean nothing."""
