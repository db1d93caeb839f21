"""``python -m tests.takeover``: run hostile code in confined transform children, and list what was refused and by what.

As root, it runs as root's children, which become another user, and as an ordinary user. A third run without any
confinement shows which attempts succeed here otherwise. The exit status is 1 if anything got through.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydantic
from rich.console import Console
from rich.table import Table
from tests.takeover.scene import REFUSALS, Result

import pixelflow

ROOT = Path(__file__).parents[2]
ROOT_USER, ORDINARY_USER, UNCONFINED = "child of root", "ordinary user", "without confinement"
WIDTH = 150
TIMEOUT_SECONDS = 120


class UnavailableError(Exception):
    """No other user can run this Python."""


def main() -> int:
    """Run all, print the table and return the exit status."""
    console = Console(width=WIDTH)
    confined = [ORDINARY_USER] if os.getuid() else [ROOT_USER, ORDINARY_USER]
    if os.getuid():
        console.print("Not root: children of root, which become another user, are not tried.")
    try:
        with ThreadPoolExecutor() as pool:
            results = dict(zip((UNCONFINED, *confined), pool.map(run_as, (UNCONFINED, *confined)), strict=True))
    except UnavailableError as error:
        console.print(f"An ordinary user can't run this Python with these packages: {error}")
        return 1
    console.print(_table(results))
    console.print(_reasons(results))
    through = [(user, each) for user in confined for each in results[user] if not each.prevented]
    for user, each in through:
        console.print(f"[red]got through as {user}: {each.group}: {each.name}: {each.result}[/red]")
    free = sum(not each.prevented for each in results[UNCONFINED])
    console.print(
        f"{sum(len(results[user]) for user in confined)} attempts as {' and '.join(confined)}; {len(through)} got "
        f"through. Without confinement, {free} of {len(results[UNCONFINED])} succeed on this machine."
    )
    return 1 if through else 0


def run_as(user: str) -> list[Result]:
    """Run all attempts in a process of that user.

    Raises:
        UnavailableError: no other user can run this Python.
    """
    program, identity = sys.executable, {}
    if user == ORDINARY_USER and os.getuid() == 0:
        free = 60_000 + os.getpid() % 5_000
        program, identity = "/usr/bin/python3", {"user": free, "group": free, "extra_groups": []}
        if not Path(program).exists():
            raise UnavailableError(f"{program} is missing")
    packages = [str(Path(module.__file__ or "").parents[1]) for module in (pixelflow, pydantic)]
    options = ["--unconfined"] if user == UNCONFINED else []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        done = subprocess.run(  # type: ignore[call-overload]
            [program, "-P", "-m", "tests.takeover.scene", *options],
            env={"PYTHONPATH": ":".join([str(ROOT), *packages]), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": folder,
                 "PATH": os.defpath, "SECRET": "hush"},
            capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, **identity,
        )  # fmt: skip
    if done.returncode and ("ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr):
        raise UnavailableError(done.stderr[-500:])  # it can't read the packages, or they are of another Python
    assert done.returncode == 0, done.stderr[-2000:]
    return [Result(**each) for each in json.loads(done.stdout)]


def _table(results: Mapping[str, list[Result]]) -> Table:
    table = Table("", "attempt", *results)
    by_name = {user: {(each.group, each.name): each for each in each_user} for user, each_user in results.items()}
    group = ""
    for key in max(by_name.values(), key=len):
        if key[0] != group:
            table.add_section()
        cells = (_cell(user, by_name[user].get(key)) for user in results)
        table.add_row(key[0] if key[0] != group else "", key[1], *cells)
        group = key[0]
    return table


def _cell(user: str, result: Result | None) -> str:
    if result is None:
        return "–"
    if user != UNCONFINED:
        return result.result if result.prevented else f"[red]{result.result}[/red]"
    if result.prevented:
        return f"not here: {result.result}"
    return "succeeds" if result.result == "done" else result.result


def _reasons(results: Mapping[str, list[Result]]) -> str:
    found = Counter(each.result.partition(" ")[2] for user in results if user != UNCONFINED for each in results[user])
    return "\n".join(f"{found[error]:4} × {error}: {reason}" for error, reason in REFUSALS.items() if found[error])


if __name__ == "__main__":
    sys.exit(main())
