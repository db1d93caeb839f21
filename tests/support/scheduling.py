"""How ``make test`` divides the tests among pytest-xdist's workers: whole files, the longest first."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

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

    def remove_node(self, node: WorkerController) -> str | None:
        """Give a crashed worker's files to others, but not those that it has ended.

        pytest-xdist gives them all, and a worker that gets a file without a test to run would wait for ever.
        """
        assigned = self.assigned_work[node]
        self.assigned_work[node] = {path: tests for path, tests in assigned.items() if not all(tests.values())}
        return super().remove_node(node)  # type: ignore[no-any-return]

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a worker its next file; after the last one, let it end.

        A worker begins its last test only when it knows that no other follows. pytest-xdist says so when a test has
        ended: the replacement of a crashed worker that got a single test would wait for ever.
        """
        super()._assign_work_unit(node)
        if not self.workqueue:
            node.shutdown()


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
