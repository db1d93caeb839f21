"""The size of a worker follows the limits of its control group; settings take precedence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.unit.test_metrics_server import settings_of

from pixelflow.dataplane.worker.resources import (
    DEFAULT_CHILD_MEMORY_BYTES,
    MIN_CHILD_MEMORY_BYTES,
    WORKER_MEMORY_BYTES,
    Capacity,
    capacity_of,
    is_shortage,
)

GB = 1_000_000_000


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))


def _capacity(tmp_path: Path, limits: dict[str, str], **settings: object) -> Capacity:
    """The capacity in the control group ``/pod/worker``, with ``limits`` by file below the root."""
    (tmp_path / "pod" / "worker").mkdir(parents=True)
    (tmp_path / "own").write_text("0::/pod/worker\n")
    for name, text in limits.items():
        (tmp_path / name).write_text(f"{text}\n")
    return capacity_of(settings_of(**settings), tmp_path, tmp_path / "own")


@pytest.mark.parametrize(
    ("limits", "slots", "places"),
    [
        pytest.param({}, 16, 64, id="no limit"),
        pytest.param({"pod/worker/cpu.max": "max 100000"}, 16, 64, id="unlimited"),
        pytest.param({"pod/worker/cpu.max": "400000 100000"}, 4, 16, id="four cores"),
        pytest.param({"pod/worker/cpu.max": "50000 100000"}, 1, 8, id="half a core"),
        pytest.param({"pod/cpu.max": "250000 100000"}, 2, 8, id="two and a half, by a group above"),
        pytest.param({"pod/worker/cpu.max": "nonsense"}, 16, 64, id="not understood"),
        pytest.param({"memory.max": "1300000000"}, 2, 8, id="little memory"),
        pytest.param({"memory.max": "100000000"}, 1, 8, id="very little memory"),
    ],
)
def test_slots_follow_the_cores_and_places_the_slots(
    tmp_path: Path, limits: dict[str, str], slots: int, places: int
) -> None:
    capacity = _capacity(tmp_path, limits)
    assert (capacity.slots, capacity.places) == (slots, places)


@pytest.mark.parametrize("memory", [GB, 2 * GB, 4 * GB, 64 * GB])
def test_the_memory_of_all_children_fits_into_the_limit(tmp_path: Path, memory: int) -> None:
    capacity = _capacity(tmp_path, {"pod/memory.max": str(memory)})
    assert capacity.slots * capacity.child_memory_bytes + WORKER_MEMORY_BYTES <= memory
    assert MIN_CHILD_MEMORY_BYTES <= capacity.child_memory_bytes <= DEFAULT_CHILD_MEMORY_BYTES


def test_settings_take_precedence(tmp_path: Path) -> None:
    capacity = _capacity(
        tmp_path,
        {"cpu.max": "100000 100000", "memory.max": str(GB)},
        worker_max_active_jobs=3,
        worker_concurrency=5,
        worker_child_memory_bytes=3 * GB,
    )
    assert capacity == Capacity(slots=3, places=5, child_memory_bytes=3 * GB)


def test_there_are_no_more_slots_than_places(tmp_path: Path) -> None:
    assert _capacity(tmp_path, {}, worker_concurrency=2).slots == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, ""), True),
        (OSError(errno.EDQUOT, ""), True),
        (OSError(errno.EMFILE, ""), True),
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (FileNotFoundError(errno.ENOENT, ""), False),
        (RuntimeError("anything else"), False),
        (ValueError(), False),
    ],
)
def test_a_shortage_is_recognized(error: Exception, expected: bool) -> None:
    assert is_shortage(error) is expected
