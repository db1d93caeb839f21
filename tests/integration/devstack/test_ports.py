"""Ports are the same as in the previous run where possible; replacements are reported."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.ports import free_port

from pixelflow.devstack.account import servers_account
from pixelflow.devstack.errors import StackError
from pixelflow.devstack.home import Home
from pixelflow.devstack.ports import ReservedPorts, listen

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def opened(home: Path) -> Iterator[Home]:
    opened = Home(home, servers_account())
    yield opened
    opened.close()


def chosen(home: Home, said: list[str]) -> dict[str, int]:
    with ReservedPorts(said.append) as ports:
        return ports.choose(home, ["one", "two"])


def test_servers_keep_their_ports(opened: Home, said: list[str]) -> None:
    first = chosen(opened, said)
    assert len(set(first.values())) == 2
    assert chosen(opened, said) == first
    assert said == []


def test_a_server_s_busy_port_is_replaced_and_reported(opened: Home, said: list[str]) -> None:
    first = chosen(opened, said)
    with socket.create_server(("127.0.0.1", first["one"])):
        second = chosen(opened, said)
    assert second["one"] != first["one"]
    assert second["two"] == first["two"]
    assert said == [f"Port {first['one']} is busy: one listens on {second['one']} instead."]


def test_no_other_stack_chooses_a_port_on_which_its_server_does_not_listen_yet(opened: Home, said: list[str]) -> None:
    with ReservedPorts(said.append) as ports:
        first = ports.choose(opened, ["one", "two"])
        metrics = ports.choose_next(first["one"], ["metrics"])
        other = chosen(opened, said)
    assert len({*first.values(), *other.values(), *metrics.values()}) == 5
    assert len(said) == 3
    with ReservedPorts(said.append) as ports:
        assert ports.choose_next(first["one"], ["metrics"]) == {"metrics": first["one"]}


def test_the_api_s_port_is_reserved_as_soon_as_it_is_chosen(said: list[str]) -> None:
    wanted = free_port()
    with listen(wanted, echo=said.append) as first, listen(wanted, echo=said.append) as second:
        assert first.getsockname() == ("127.0.0.1", wanted)
        replaced = second.getsockname()[1]
    assert replaced > wanted
    assert said == [f"Port {wanted} is busy: api listens on {replaced} instead."]


def test_the_api_does_not_listen_on_a_port_that_another_stack_has_chosen(said: list[str]) -> None:
    wanted = free_port()
    with ReservedPorts(said.append) as ports:
        (chosen,) = ports.choose_next(wanted, ["metrics"]).values()
        with listen(chosen, echo=said.append) as listening:
            assert listening.getsockname()[1] != chosen
    assert said[-1].startswith(f"Port {chosen} is busy: api listens on ")


def test_port_0_chooses_any_port_without_a_message(said: list[str]) -> None:
    with listen(0, echo=said.append) as one, listen(0, echo=said.append) as other:
        assert 0 < one.getsockname()[1] != other.getsockname()[1] > 0
    assert said == []


def test_metrics_ports_are_consecutive_except_for_busy_ones(said: list[str]) -> None:
    wanted = free_port()
    with socket.create_server(("127.0.0.1", wanted)), ReservedPorts(said.append) as ports:
        chosen = ports.choose_next(wanted, ["one", "two"])
    assert wanted < chosen["one"] != chosen["two"] > wanted
    assert said[0] == f"Port {wanted} is busy: the metrics server of one listens on {chosen['one']} instead."


def test_metrics_port_0_chooses_any_ports_without_a_message(said: list[str]) -> None:
    with ReservedPorts(said.append) as ports:
        chosen = ports.choose_next(0, ["one", "two"])
    assert chosen["one"] != chosen["two"]
    assert said == []


@pytest.mark.parametrize("port", [-1, 65_536])
def test_an_invalid_port_number_is_rejected(said: list[str], port: int) -> None:
    with pytest.raises(StackError, match=f"{port} is not a port number. Choose one from 1 to 65535, or 0 for any"):
        listen(port, echo=said.append)
