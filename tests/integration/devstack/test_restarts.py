"""Processes that exit, at their start or later, and processes that report that they are ready."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.running import started
from tests.support.waiting import eventually

from pixelflow.devstack import supervisor
from pixelflow.devstack.errors import StackError
from pixelflow.devstack.stack import Role, Stack

NOTIFY = "from pixelflow.adapters.readiness import notify_ready; notify_ready()"
RUN = "import time; time.sleep(1000)"
EXITS_ON_DEMAND = (
    NOTIFY,
    "import pathlib, time; all(time.sleep(0.01) is None for _ in iter(pathlib.Path('exit').exists, True))",
    "print('out of luck')",
    "raise SystemExit(3)",
)
"""Exits once :func:`make_it_exit` is called: the supervisor must have read the notification first."""


@pytest.fixture
def opened(home: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack without servers, which loses no time between restarts."""
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS", (0.01,) * 4)
    with Stack.open(home, api_port=0, echo=said.append) as stack:
        yield stack


def role(*statements: str, notifies: bool = False) -> Role:
    return Role("worker", [sys.executable, "-c", "; ".join(statements)], notifies=notifies)


def exits(times: int, code: int = 1) -> str:
    """A statement that exits the first ``times`` times."""
    return (
        "import pathlib, sys; f = pathlib.Path('starts'); n = f.stat().st_size if f.exists() else 0; "
        f"f.write_text('.' * (n + 1)); n < {times} and (print('no place'), sys.exit({code}))"
    )


def make_it_exit(stack: Stack) -> None:
    (stack.home.path / "exit").touch()


def starts(stack: Stack) -> int:
    return (stack.home.path / "starts").stat().st_size


def test_a_process_is_ready_when_it_says_so(opened: Stack) -> None:
    began = time.monotonic()
    opened.start_processes([role("import time; time.sleep(0.5)", NOTIFY, RUN, notifies=True)])
    assert time.monotonic() - began >= 0.5
    opened.check()


def test_a_process_that_never_says_so_is_not_ready(opened: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "START_SECONDS", 0.5)
    with pytest.raises(StackError, match=r"^worker was not ready within"):
        opened.start_processes([role(RUN, notifies=True)])


def test_a_process_that_exits_at_its_start_is_started_again(opened: Stack, said: list[str]) -> None:
    """Another process may have taken its port for a moment."""
    opened.start_processes([role(exits(2), NOTIFY, RUN, notifies=True)])
    assert starts(opened) == 3
    assert [line.partition(";")[0] for line in said] == ["worker exited (exit code 1)"] * 2


def test_a_process_that_exits_at_every_start_fails_with_the_end_of_its_log(opened: Stack) -> None:
    with pytest.raises(StackError, match=r"(?s)^worker exited during startup \(exit code 1\); .*no place"):
        opened.start_processes([role(exits(9), notifies=True)])
    assert starts(opened) == supervisor.START_ATTEMPTS


def test_a_wrong_setting_is_reported_at_once(opened: Stack) -> None:
    with pytest.raises(StackError, match=r"exit code 78"):
        opened.start_processes([role(exits(9, code=78), notifies=True)])
    assert starts(opened) == 1


def test_a_process_that_exits_later_is_noticed(opened: Stack) -> None:
    opened.start_processes([role(*EXITS_ON_DEMAND, notifies=True)])
    opened.check()
    make_it_exit(opened)
    with pytest.raises(StackError, match=r"(?s)^worker exited \(exit code 3\); .*out of luck"):
        eventually(opened.check)  # returns nothing


def test_a_process_that_exits_again_and_again_ends_the_watch(opened: Stack, said: list[str]) -> None:
    opened.start_processes([role(*EXITS_ON_DEMAND, notifies=True)])
    make_it_exit(opened)
    with pytest.raises(StackError, match=r"(?s)^worker exited 5 times .*out of luck"):
        opened.watch()
    assert len(said) == 4


def test_processes_that_do_not_become_ready_are_stopped_and_the_earlier_ones_stay(opened: Stack) -> None:
    opened.start_processes([role(NOTIFY, RUN, notifies=True)])
    failing = role("raise SystemExit(3)", notifies=True)
    with pytest.raises(StackError, match="exited during startup"), started(opened, [failing]):
        pass
    opened.check()
