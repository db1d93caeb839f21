"""Builds the wheels and source distributions into a folder: ``python -m tests.support.build_distributions dist``.

The wheels are built from the source distributions, as an installer without wheels would build them. The same sources
give the same bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = {"pixelflow-client": ROOT / "clients/python", "pixelflow-server": ROOT}
"""Distribution → the folder of its ``pyproject.toml``."""
_EPOCH = "1577836800"
"""2020-01-01, for files of a build from no commit. Zip archives begin with 1980."""


def build(folder: Path) -> list[Path]:
    """Build every distribution into ``folder``, which loses its earlier ones, and return the paths of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("pixelflow_*.whl"), *folder.glob("pixelflow_*.tar.gz")]:
        old.unlink()
    for project in PROJECTS.values():
        _run_hatchling(project, "sdist", folder)
    for sdist in sorted(folder.glob("*.tar.gz")):
        with tempfile.TemporaryDirectory() as unpacked, tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter="data")
            _run_hatchling(next(Path(unpacked).iterdir()), "wheel", folder)
    return sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])


def _run_hatchling(project: Path, target: str, folder: Path) -> None:
    environment = os.environ | {"SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH") or _commit_time()}
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder.absolute())]
    subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)


def _commit_time() -> str:
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or _EPOCH


if __name__ == "__main__":
    for built in build(Path(sys.argv[1])):
        print(f"{built.stat().st_size / 1000:10,.0f} kB  {built}")
