"""Ports: the same as before where possible, and the person is told where not."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pixelflow.devstack.account import servers_account
from pixelflow.devstack.errors import StackError
from pixelflow.devstack.home import Home
from pixelflow.devstack.ports import choose_ports, listen, next_ports

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def opened(home: Path) -> Iterator[Home]:
    opened = Home(home, servers_account())
    yield opened
    opened.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


def test_servers_keep_their_ports(opened: Home, said: list[str]) -> None:
    first = choose_ports(opened, ["one", "two"], say=said.append)
    assert len(set(first.values())) == 2
    assert choose_ports(opened, ["one", "two"], say=said.append) == first
    assert said == []


def test_a_server_s_busy_port_is_replaced_and_said(opened: Home, said: list[str]) -> None:
    first = choose_ports(opened, ["one", "two"], say=said.append)
    with socket.create_server(("127.0.0.1", first["one"])):
        second = choose_ports(opened, ["one", "two"], say=said.append)
    assert second["one"] != first["one"]
    assert second["two"] == first["two"]
    assert said == [f"Port {first['one']} is busy: one listens on {second['one']} instead."]


def test_the_api_s_port_is_held_from_when_it_is_chosen(said: list[str]) -> None:
    wanted = _free_port()
    with listen(wanted, say=said.append) as first, listen(wanted, say=said.append) as second:
        assert first.getsockname() == ("127.0.0.1", wanted)
        replaced = second.getsockname()[1]
    assert replaced > wanted
    assert said == [f"Port {wanted} is busy: api listens on {replaced} instead."]


def test_port_0_takes_any_and_nothing_is_said_of_it(said: list[str]) -> None:
    with listen(0, say=said.append) as one, listen(0, say=said.append) as other:
        assert 0 < one.getsockname()[1] != other.getsockname()[1] > 0
    assert said == []


def test_metrics_are_told_on_ports_in_a_row_and_busy_ones_are_left_out(said: list[str]) -> None:
    wanted = _free_port()
    with socket.create_server(("127.0.0.1", wanted)):
        chosen = next_ports(wanted, ["one", "two"], say=said.append)
    assert wanted < chosen["one"] != chosen["two"] > wanted
    assert said[0] == f"Port {wanted} is busy: the metrics of one listens on {chosen['one']} instead."


def test_metrics_are_told_anywhere_for_0_and_nothing_is_said_of_it(said: list[str]) -> None:
    chosen = next_ports(0, ["one", "two"], say=said.append)
    assert chosen["one"] != chosen["two"]
    assert said == []


@pytest.mark.parametrize("port", [-1, 65_536])
def test_what_is_no_port_is_refused(said: list[str], port: int) -> None:
    with pytest.raises(StackError, match=f"{port} is no port: choose one from 1 to 65535, or 0 for any"):
        listen(port, say=said.append)
