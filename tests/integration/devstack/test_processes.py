"""The error of a failed process quotes its own log output only, not that of earlier processes in the same log."""

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


def error_of(home: Home, script: str) -> str:
    with pytest.raises(StackError) as raised:
        run_to_end(spawn(home, "shell", ["/bin/sh", "-c", script], environment={}), 10)
    return str(raised.value)


def test_the_error_quotes_only_the_output_of_the_failed_process(opened: Home) -> None:
    assert error_of(opened, "echo first; exit 3").endswith("shell.log:\nfirst")
    message = error_of(opened, "echo second; exit 4")
    assert message.startswith("shell failed (exit code 4); ")
    assert message.endswith("shell.log:\nsecond")


def test_the_error_of_a_silent_process_does_not_quote_another_one(opened: Home) -> None:
    error_of(opened, "echo first; exit 3")
    assert error_of(opened, "exit 4").endswith("it wrote nothing to " + str(opened.log("shell")) + ".")
