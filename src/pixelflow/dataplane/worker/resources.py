"""Which errors of the operating system say that the worker's machine lacks something, and what the machine offers.

Reads the control group of the process (cgroup v2), so that a container's limits count and not the host's size.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from pixelflow.settings import Settings

MIN_CHILD_MEMORY_BYTES = 200_000_000
DEFAULT_CHILD_MEMORY_BYTES = 2_000_000_000
COMFORTABLE_CHILD_MEMORY_BYTES = 500_000_000
"""A container with less memory than this for each core gets fewer slots: large pictures would fail in smaller ones."""
PLACES_PER_SLOT = 4
MIN_PLACES = 8
WORKER_MEMORY_BYTES = 300_000_000
"""Memory of a worker without its children, and of the files that it keeps in memory."""
_SHORTAGES = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EAGAIN,  # no more processes or threads
    errno.EROFS,  # a disk with errors is remounted read-only
    errno.EIO,
}
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_UNLIMITED = "max"


def is_shortage(error: BaseException) -> bool:
    """Return whether an error says that the machine lacks disk, memory, descriptors or processes."""
    if isinstance(error, OSError):
        return error.errno in _SHORTAGES
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error))


def available_cores(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """Return the number of whole cores that this process may use, at least 1: by its affinity and by ``cpu.max``."""
    cores = float(len(os.sched_getaffinity(0)))
    for folder in _folders(cgroups, own):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            cores = min(cores, int(quota) / int(period))
    return max(1, int(cores))


def available_memory(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int | None:
    """Return the limit of this process's memory in bytes by ``memory.max``; ``None``: it has none."""
    limits = [int(text) for folder in _folders(cgroups, own) if (text := _read(folder / "memory.max")).isdigit()]
    return min(limits, default=None)


def _folders(cgroups: Path, own: Path) -> list[Path]:
    """The control group of this process and those above it; each may limit it."""
    path = next((line.removeprefix("0::") for line in _read(own).splitlines() if line.startswith("0::")), "/")
    folder = cgroups / path.strip("/")
    return [each for each in (folder, *folder.parents) if each.is_relative_to(cgroups)]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # no cgroup v2, or not limited
        return _UNLIMITED


@dataclass(frozen=True)
class Capacity:
    """How much a worker does at a time."""

    slots: int
    """Transforms."""
    places: int
    """Jobs at hand, including those whose source is fetched ahead and whose outputs are being stored."""
    child_memory_bytes: int
    """Limit of each transform."""


def capacity_of(settings: Settings, cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> Capacity:
    """Return what the settings say; what they leave open follows the cores and the memory that the process may use."""
    memory = available_memory(cgroups, own)
    slots = settings.worker_max_active_jobs
    if slots is None:
        slots = available_cores(cgroups, own)
        if memory is not None:
            slots = max(1, min(slots, (memory - WORKER_MEMORY_BYTES) // COMFORTABLE_CHILD_MEMORY_BYTES))
        slots = min(slots, settings.worker_concurrency or slots)
    child_memory = settings.worker_child_memory_bytes
    if child_memory is None:
        share = DEFAULT_CHILD_MEMORY_BYTES if memory is None else (memory - WORKER_MEMORY_BYTES) // slots
        child_memory = max(MIN_CHILD_MEMORY_BYTES, min(DEFAULT_CHILD_MEMORY_BYTES, share))
    places = settings.worker_concurrency or max(MIN_PLACES, PLACES_PER_SLOT * slots)
    return Capacity(slots, places, child_memory)
