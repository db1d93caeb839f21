"""A scenario: a short run with a cluster of its own, one kind of trouble, and its invariants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import evidence
from tests.chaos.cluster import Cluster, create_cluster, new_home
from tests.chaos.managed_process import ManagedProcess
from tests.chaos.report import Part
from tests.integration.devstack.processes_of import wait_until_none

ORPHAN_SECONDS = 5.0
SETTINGS = {"PIXELFLOW_RATE_LIMIT_ENABLED": "false", "PIXELFLOW_LOG_FORMAT": "json"}
SettingsOf = Mapping[str, Mapping[str, str]]
"""Settings of single processes, by name."""


@contextmanager
def unprepared(_folder: Path) -> Iterator[SettingsOf | None]:
    """Prepare nothing."""
    yield {}


@dataclass(frozen=True)
class Scenario:
    """What to run, and on which cluster."""

    name: str
    title: str
    run: Callable[[Cluster, Path, Part], None]
    """Given the cluster, the folder that ``prepared`` had, and the report."""
    settings: Mapping[str, str]
    workers: int = 2
    apis: int = 1
    without: Callable[[Cluster], Sequence[ManagedProcess]] = lambda _: ()
    """Processes that :attr:`run` starts."""
    prepared: Callable[[Path], AbstractContextManager[SettingsOf | None]] = unprepared
    """Prepares a folder outside of the home; None: the scenario is not possible on this machine."""


def run_scenario(scenario: Scenario, home: Path, part: Part) -> None:
    """Run a scenario in an empty directory, and check that nothing is left of it but its logs."""
    with new_home() as folder, scenario.prepared(folder) as settings_of:
        if settings_of is None:
            part.count("not measured", "it requires root")
            return
        cluster = create_cluster(
            home,
            settings={**SETTINGS, **scenario.settings},
            apis=scenario.apis,
            workers=scenario.workers,
            settings_of=settings_of,
        )
        try:
            cluster.start(without=scenario.without(cluster))
            scenario.run(cluster, folder, part)
        except TimeoutError as error:
            part.check("not finished", [str(error)])
        finally:
            cluster.stop()
    check_leftovers(home, part)


def check_leftovers(home: Path, part: Part) -> None:
    """Check that a stopped cluster left no process and no scratch directory, and logged no unexpected error."""
    part.check("orphan processes", wait_until_none(home, ORPHAN_SECONDS))
    part.check("scratch files left", [str(found) for found in (home / "scratch").iterdir()])
    part.check("unexpected errors logged", evidence.unexpected_lines(home / "logs"))
