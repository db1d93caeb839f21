"""Scratch folders: private, removed at exit, and removed by the next worker if their worker was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pixelflow.dataplane.worker.scratch import scratch_folder

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


def test_other_folders_are_not_removed(tmp_path: Path) -> None:
    for name in ("pixelflow-worker-strange", "photos"):
        (tmp_path / name).mkdir()
    with scratch_folder(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"pixelflow-worker-strange", "photos"}
