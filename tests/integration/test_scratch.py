"""Scratch folders: private, removed at exit, and removed by the next worker if their worker was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pixelflow.dataplane.worker.scratch import remove_tree, scratch_folder
from pixelflow.settings import SettingsError

WORKER = """
import sys, time
from pathlib import Path
from pixelflow.dataplane.worker.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "source").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_private_and_removed_at_exit(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "attempt").mkdir()
    assert list(tmp_path.iterdir()) == []


def test_each_worker_has_its_own_folder(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as one, scratch_folder(tmp_path) as other:
        assert one != other
        assert one.exists()


def test_the_next_worker_removes_the_folder_of_a_killed_worker_but_not_of_a_live_one(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout
            left = Path(worker.stdout.readline().strip())
            with scratch_folder(tmp_path):
                assert (left / "source").exists(), "its worker is alive"
        finally:
            worker.kill()
    assert left.exists(), "a killed worker can't remove its folder"
    with scratch_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_other_folders_that_are_not_empty_are_kept(tmp_path: Path) -> None:
    for name in ("pixelflow-worker-strange", "photos"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with scratch_folder(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"pixelflow-worker-strange", "photos"}


REMOVAL = """
import os, signal, sys
from pathlib import Path
from pixelflow.dataplane.worker import scratch
calls = iter(range(int(sys.argv[2])))
def interrupted(event, args):
    if event in {"os.remove", "os.rename", "os.rmdir"} and next(calls, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(interrupted)
with scratch.scratch_folder(Path(sys.argv[1])):
    pass
"""


@pytest.mark.parametrize("before", range(14))
def test_a_removal_that_a_kill_interrupts_is_continued_by_the_next_worker(tmp_path: Path, before: int) -> None:
    left = tmp_path / "pixelflow-worker-left"
    for name in ("one/inner/innermost", "other/inner/innermost"):
        (left / name).mkdir(parents=True)
    for name in (".lock", "source", "one/output"):
        (left / name).touch()
    killed = subprocess.run([sys.executable, "-c", REMOVAL, str(tmp_path), str(before)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    with scratch_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("has_lock", [False, True])
def test_a_folder_whose_creation_a_kill_interrupted_is_removed_later(tmp_path: Path, has_lock: bool) -> None:
    new = tmp_path / "pixelflow-new-left"
    new.mkdir()
    if has_lock:
        (new / ".lock").touch()
    with scratch_folder(tmp_path):
        assert new.exists(), "another worker may be creating it"
    os.utime(new, (0, 0))
    with scratch_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


DEPTH = 3000
"""Beyond the recursion limit of Python (1000) and, with such names, the longest path (4096 bytes)."""


def test_a_deep_folder_that_a_killed_worker_left_behind_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "pixelflow-worker-left"
    left.mkdir()
    (left / ".lock").touch()
    folder = os.open(left, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("nested", dir_fd=folder)
        inner = os.open("nested", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    with scratch_folder(tmp_path) as folder_of_worker:
        assert list(tmp_path.iterdir()) == [folder_of_worker]


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "photo").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    remove_tree(folder)
    assert not folder.exists()
    assert (outside / "photo").exists()


@pytest.mark.parametrize("path", ["missing", "file", "relative"])
def test_a_folder_that_can_not_be_used_is_an_error_of_the_setting(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    parent = Path("relative") if path == "relative" else tmp_path / path
    with pytest.raises(SettingsError, match="PIXELFLOW_WORKER_TEMP_DIR is not valid"), scratch_folder(parent):
        pytest.fail("no folder")


def test_a_folder_that_can_not_be_written_is_an_error_of_the_setting() -> None:
    with pytest.raises(SettingsError, match="PIXELFLOW_WORKER_TEMP_DIR"), scratch_folder(Path("/proc")):
        pytest.fail("no folder")
