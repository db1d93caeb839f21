"""Scratch folders: private, gone with their worker, and swept after one that was killed."""

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


def test_a_folder_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "attempt").mkdir()
    assert list(tmp_path.iterdir()) == []


def test_workers_have_folders_of_their_own(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as one, scratch_folder(tmp_path) as other:
        assert one != other
        assert one.exists()


def test_a_killed_worker_s_folder_is_swept_by_the_next_one_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout
            left = Path(worker.stdout.readline().strip())
            with scratch_folder(tmp_path):
                assert (left / "source").exists(), "its worker lives"
        finally:
            worker.kill()
    assert left.exists(), "a killed worker can't clean up"
    with scratch_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_what_others_keep_beside_it_stays(tmp_path: Path) -> None:
    for name in ("pixelflow-worker-strange", "photos"):
        (tmp_path / name).mkdir()
    with scratch_folder(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"pixelflow-worker-strange", "photos"}
