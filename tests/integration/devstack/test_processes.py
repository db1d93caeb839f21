"""What is told of a process that failed: what this one wrote, and nothing of those that wrote to the log before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pixelflow.devstack.account import servers_account
from pixelflow.devstack.errors import StackError
from pixelflow.devstack.home import Home
from pixelflow.devstack.processes import run_to_end, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def opened(home: Path) -> Iterator[Home]:
    one = Home(home, servers_account())
    yield one
    one.close()


def complaint(home: Home, script: str) -> str:
    with pytest.raises(StackError) as raised:
        run_to_end(spawn(home, "shell", ["/bin/sh", "-c", script], environment={}), 10)
    return str(raised.value)


def test_only_what_the_failed_process_wrote_is_told(opened: Home) -> None:
    assert complaint(opened, "echo first; exit 3").endswith("shell.log says:\nfirst")
    told = complaint(opened, "echo second; exit 4")
    assert told.startswith("shell failed (exit code 4); ")
    assert told.endswith("shell.log says:\nsecond")


def test_one_that_wrote_nothing_is_not_told_with_the_words_of_another(opened: Home) -> None:
    complaint(opened, "echo first; exit 3")
    assert complaint(opened, "exit 4").endswith("it wrote nothing to " + str(opened.log("shell")) + ".")
