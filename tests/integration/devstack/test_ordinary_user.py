"""The stack run by an ordinary user: ``nobody`` if the tests run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

import pixelflow
from pixelflow.devstack.account import Account

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import pathlib, sys
from pixelflow.devstack.stack import Stack
with Stack.open(pathlib.Path(sys.argv[1]), echo=lambda _: None) as stack:
    stack.start_servers()
    print(sorted({path.owner() for path in stack.home.path.iterdir()}), oct(stack.home.path.stat().st_mode))
"""


def _nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account(name="nobody", uid=entry.pw_uid, gid=entry.pw_gid, is_other=True)


def _interpreter() -> str:
    """Return a Python of this version that ``nobody`` can execute: the current one may be in a folder of root's."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if Path(candidate).exists() and _nobody().first_inaccessible_parent(Path(candidate)) is None:
            return candidate
    pytest.skip(f"no {version} on this machine that nobody can run")


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pixelflow-home-"))
    _nobody().chown(path)
    yield path
    shutil.rmtree(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test ran as an ordinary user")
def test_an_ordinary_user_runs_the_servers_under_the_same_account(place: Path) -> None:
    libraries = [Path(pixelflow.__file__).parents[1], Path(psycopg.__file__).parents[1]]
    if any(_nobody().first_inaccessible_parent(folder) for folder in libraries):
        pytest.skip("nobody can't read the libraries of this environment")
    done = subprocess.run(
        [_interpreter(), "-c", PROGRAM, str(place / "home")],
        env={"PYTHONPATH": ":".join(map(str, libraries)), "HOME": str(place)},
        user="nobody",
        group=_nobody().gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stderr == ""
    assert done.stdout == "['nobody'] 0o40700\n"
