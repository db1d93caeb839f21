"""How ``make test`` divides the tests among pytest-xdist's workers: whole files, the longest first."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

LONGEST = ("tests/bench", "tests/acceptance", "tests/chaos", "tests/integration", "tests/migration", "tests/contract")
"""Folders by the time of their files; the others follow. A long file that starts last runs alone at the end."""


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Runs the tests of a file on one worker, so that its fixtures are set up once."""

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


def by_duration(path: str) -> int:
    """Sort key of a test file: those that take longest first."""
    folders = [str(folder) for folder in PurePosixPath(path).parents]
    return next((place for place, folder in enumerate(LONGEST) if folder in folders), len(LONGEST))
