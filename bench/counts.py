"""Repetitions: of a real run, or of a tiny one that only checks that the benchmark works."""

from __future__ import annotations

from dataclasses import dataclass, field

MEGAPIXEL = 1_000_000


@dataclass(frozen=True)
class Counts:
    """Repetitions of a run that takes at most 40 minutes on two cores."""

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
    user_photos: int | None = None
    """Number of photos in the sizes of users' photos; None for all 16."""
    users_rounds: int = 5
    users_jobs: int = 48
    """Two at a time, per round."""
    users_size_rounds: int = 3
    users_size_jobs: int = 8
    """Per photo and round, for the worker's CPU as a function of the source's size."""
    idle_windows: int = 4
    idle_seconds: float = 5.0
    """Of each window."""
    storage_jobs: dict[str, int] = field(default_factory=lambda: {"jpeg_640": 160, "six": 64})
    """So many that the start and the end of a round, when not all slots are busy, weigh little."""
    storage_rounds: int = 3
    fair_jobs: int = 160
    """Per user and weight of one: a user with heavy jobs has a quarter of them."""
    crowd_jobs: int = 2000
    """Waiting jobs of one user while another one starts a single job."""
    lone_jobs: int = 10
    queue_waiting: tuple[int, int] = (100, 100_000)
    """Waiting jobs of the short and of the long queue."""
    queue_users: tuple[int, int] = (100, 10_000)
    """In both, each job is that of another user, and needs a child of its own."""
    queue_rounds: int = 6
    """With the short queue, before and after as many with the long one."""
    engine_seconds: float = 0.2
    """Least CPU time of one sample of the engine alone."""
    peer_rounds: dict[str, int] = field(default_factory=lambda: {"jpeg_640": 3, "webp_4": 1, "avif_640": 2})
    peer_scores: int = 5
    """Photos that are scored."""
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
    user_photos=2,
    users_rounds=1,
    users_jobs=3,
    users_size_rounds=1,
    users_size_jobs=1,
    idle_windows=1,
    idle_seconds=0.5,
    storage_jobs={"jpeg_640": 2, "six": 1},
    storage_rounds=1,
    fair_jobs=4,
    crowd_jobs=20,
    lone_jobs=1,
    queue_waiting=(10, 100),
    queue_users=(10, 15),
    queue_rounds=1,
    engine_seconds=0.0,
    peer_rounds={"jpeg_640": 1, "webp_4": 1, "avif_640": 1},
    peer_scores=1,
    fetch_sharp=False,
    sources=1,
)
"""The figures of such a run mean nothing."""
