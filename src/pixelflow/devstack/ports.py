"""Ports on the loopback interface: the stored or requested port if it is free, else another one, which is reported.

A program that is no stack can take a chosen port before the server listens on it. The server then fails to start and
says so.
"""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING, Self

from pixelflow.devstack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from pixelflow.devstack.home import Home

LOOPBACK = "127.0.0.1"
PORTS_FILE = "ports.json"
PORTS = range(1, 65_536)
SERVER_PORTS = range(20_000, 32_000)
"""Below the range that Linux assigns to outgoing connections (from 32768), so that a stored port is rarely taken."""
CANDIDATES = 50
"""How many ports to try."""


def listen(preferred: int, *, echo: Callable[[str], None]) -> socket.socket:
    """Open a listening socket on the port ``preferred`` or the next free one; on any free port if it is 0.

    Raises:
        StackError: ``preferred`` is not a port number, or no port near it is free.
    """
    if preferred not in range(PORTS.stop):
        raise StackError(
            f"{preferred} is not a port number. Choose one from {PORTS.start} to {PORTS.stop - 1}, or 0 for any."
        )
    for port in range(preferred, min(preferred + CANDIDATES, PORTS.stop)) if preferred else [0]:
        try:
            with _reservation(port):
                listening = socket.create_server((LOOPBACK, port))
        except OSError:
            continue
        _report_replacement("api", preferred or None, listening.getsockname()[1], echo)
        return listening
    raise StackError(f"There is no free port on {LOOPBACK} near {preferred}.")


class ReservedPorts:
    """Ports of one stack. No other stack of this machine chooses them until :meth:`close`.

    A server listens on its port only some time after the port was chosen, and not while it restarts. So each port is
    reserved by a UDP socket of the same number: the system gives it to one process and takes it back when that ends.

    Args:
        echo: called with a message for each port that was wanted and is busy.
    """

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo = echo
        self._reservations: list[socket.socket] = []

    def choose(self, home: Home, servers: Iterable[str]) -> dict[str, int]:
        """Reserve a free port for each server: the same as in the previous run where possible.

        Raises:
            StackError: no port is free.
        """
        stored = home.read_json(PORTS_FILE)
        chosen: dict[str, int] = {}
        for server in servers:
            preferred = stored.get(server)
            chosen[server] = self._reserve_first(_candidates(preferred))
            _report_replacement(server, preferred, chosen[server], self._echo)
        home.write_json(PORTS_FILE, chosen)
        return chosen

    def choose_next(self, preferred: int, names: Iterable[str]) -> dict[str, int]:
        """Reserve a free port for each name: consecutive ports from ``preferred``; any free ports if it is 0.

        Raises:
            StackError: no port is free.
        """
        chosen: dict[str, int] = {}
        for offset, name in enumerate(names):
            first = preferred + offset
            candidates = range(first, min(first + CANDIDATES, PORTS.stop)) if preferred else _candidates(None)
            chosen[name] = self._reserve_first(candidates)
            wanted = first if preferred else None
            _report_replacement(f"the metrics server of {name}", wanted, chosen[name], self._echo)
        return chosen

    def close(self) -> None:
        """Let others choose these ports."""
        for reservation in self._reservations:
            reservation.close()

    def _reserve_first(self, candidates: Iterable[int]) -> int:
        last = None
        for port in candidates:
            if self._reserve(port):
                return port
            last = port
        raise StackError(f"There is no free port on {LOOPBACK} (the last one tried was {last}).")

    def _reserve(self, port: int) -> bool:
        try:
            reservation = _reservation(port)
        except OSError:
            return False
        if not _is_free(port):
            reservation.close()
            return False
        self._reservations.append(reservation)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _reservation(port: int) -> socket.socket:
    """Reserve a port.

    Raises:
        OSError: another stack has it.
    """
    reservation = socket.socket(type=socket.SOCK_DGRAM)
    try:
        reservation.bind((LOOPBACK, port))
    except OSError:
        reservation.close()
        raise
    return reservation


def _candidates(preferred: object) -> Iterator[int]:
    if isinstance(preferred, int) and preferred in SERVER_PORTS:
        yield preferred
    yield from random.sample(SERVER_PORTS, CANDIDATES)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port with connections in TIME_WAIT is free, a port that is listened on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _report_replacement(name: str, preferred: object, chosen: int, echo: Callable[[str], None]) -> None:
    if preferred is not None and preferred != chosen:
        echo(f"Port {preferred} is busy: {name} listens on {chosen} instead.")
