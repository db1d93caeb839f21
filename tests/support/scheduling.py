"""How ``make test`` divides the tests among pytest-xdist's workers: whole files, the longest first."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

from pixelflow.devstack import ports

GROUPS = {
    "tests/acceptance/test_http_outages.py": "default ports",
    "tests/acceptance/test_readme.py": "default ports",
}
"""Files that never run at the same time: they run ``pixelflow up``, whose processes take the documented metrics ports
(9090 to 9092) or the next free ones. Two stacks that start together could choose the same."""

LONGEST = ("tests/bench", "tests/acceptance", "tests/chaos", "tests/integration", "tests/migration", "tests/contract")
"""Folders by the time of their files; the others follow. A long file that starts last runs alone at the end."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Runs the tests of a file on one worker, so that its fixtures are set up once."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return GROUPS.get(path, path)


def by_duration(path: str) -> tuple[int, bool]:
    """Sort key of a test file: those that take longest first, and of a folder those that other files wait for."""
    folders = [str(folder) for folder in PurePosixPath(path).parents]
    place = next((place for place, folder in enumerate(LONGEST) if folder in folders), len(LONGEST))
    return place, path not in GROUPS


def separate_ports(worker_number: int, worker_count: int) -> None:
    """Choose the servers' ports from this worker's part of the range.

    Two stacks that start at the same time could choose the same free port before either listens on it.
    """
    size = len(ports.SERVER_PORTS) // worker_count
    first = ports.SERVER_PORTS.start + worker_number * size
    ports.SERVER_PORTS = range(first, first + size)
