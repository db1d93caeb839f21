"""Ports on the loopback interface: the kept one if it is free, else another, and the person is told.

A port found free can be taken by somebody else before it is used; a server that then fails to listen says so itself.
"""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

from pixelflow.devstack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pixelflow.devstack.home import Home

LOOPBACK = "127.0.0.1"
KEPT = "ports.json"
PORTS = range(1, 65_536)
SERVER_PORTS = range(20_000, 32_000)
"""Below what Linux hands out to outgoing connections (from 32768), so that a kept port is rarely taken meanwhile."""
NEIGHBOURS = 50


def listen(wanted: int, *, say: Callable[[str], None]) -> socket.socket:
    """A socket that listens on the port ``wanted``, on the next free one, or for 0 on any: nobody else gets it then.

    Raises:
        StackError: what was asked for is no port, or none is free near it.
    """
    if wanted not in range(PORTS.stop):
        raise StackError(f"{wanted} is no port: choose one from {PORTS.start} to {PORTS.stop - 1}, or 0 for any.")
    for port in range(wanted, min(wanted + NEIGHBOURS, PORTS.stop)) if wanted else [0]:
        try:
            listening = socket.create_server((LOOPBACK, port))
        except OSError:
            continue
        _say_if_replaced("api", wanted or None, listening.getsockname()[1], say)
        return listening
    raise StackError(f"No free port was found on {LOOPBACK} from {wanted} on.")


def next_ports(wanted: int, names: Iterable[str], *, say: Callable[[str], None]) -> dict[str, int]:
    """A free port for each: the one after its neighbour's, from ``wanted`` on, or for 0 any.

    Raises:
        StackError: none is free.
    """
    chosen: dict[str, int] = {}
    for offset, name in enumerate(names):
        first = wanted + offset
        candidates = range(first, min(first + NEIGHBOURS, PORTS.stop)) if wanted else _candidates(None)
        chosen[name] = _first_free(candidates, taken=chosen.values())
        _say_if_replaced(f"the metrics of {name}", first if wanted else None, chosen[name], say)
    return chosen


def choose_ports(home: Home, servers: Iterable[str], *, say: Callable[[str], None]) -> dict[str, int]:
    """One free port per server, the same as last time where possible.

    Raises:
        StackError: none is free.
    """
    kept = home.read(KEPT)
    chosen: dict[str, int] = {}
    for server in servers:
        wanted = kept.get(server)
        chosen[server] = _first_free(_candidates(wanted), taken=chosen.values())
        _say_if_replaced(server, wanted, chosen[server], say)
    home.write(KEPT, chosen)
    return chosen


def _candidates(wanted: object) -> Iterator[int]:
    if isinstance(wanted, int) and wanted in SERVER_PORTS:
        yield wanted
    yield from random.sample(SERVER_PORTS, NEIGHBOURS)


def _first_free(candidates: Iterable[int], *, taken: Iterable[int]) -> int:
    refused = set(taken)
    tried = None
    for port in candidates:
        if port not in refused and _is_free(port):
            return port
        tried = port
    raise StackError(f"No free port was found on {LOOPBACK} (the last tried was {tried}).")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connections linger in TIME_WAIT counts as free, one listened on does not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _say_if_replaced(name: str, wanted: object, chosen: int, say: Callable[[str], None]) -> None:
    if wanted is not None and wanted != chosen:
        say(f"Port {wanted} is busy: {name} listens on {chosen} instead.")
