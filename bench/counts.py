"""How often everything is done: for real, or just often enough to see that the benchmark still works."""

from __future__ import annotations

from dataclasses import dataclass, field

MEGAPIXEL = 1_000_000


@dataclass(frozen=True)
class Counts:
    """For a run that ends within 20 minutes on two cores."""

    rounds: int = 7
    """Of alternating sides."""
    pictures: dict[str, int] = field(default_factory=lambda: {"jpeg_640": 60, "webp_4": 12, "watermark": 16})
    """Per side, round and case."""
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
    """Of create and start, per round."""
    memory_megapixels: tuple[int, ...] = (12, 24, 50, 100)
    soak_jobs: int = 2000
    fetch_sharp: bool = True
    """Whether sharp may be installed, into a folder of the user's cache, when it is not there yet."""
    sources: int | None = None
    """Different photos; None: all."""


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
"""Figures of such a run mean nothing."""
