"""The open connections of one API process: how many there may be, and which one gives way to a new one.

A connection is idle if it has no request in progress, or only one that is held because it is over a limit. An idle
connection costs its client nothing, so it never keeps others out: when a limit is reached, the oldest idle one is
closed. Only connections with requests in progress can make the server refuse a new connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, ip_address
from typing import Protocol

from pixelflow.controlplane.api.auth import network_of
from pixelflow.errors import OverloadedError, PixelflowError, TooManyConnectionsError
from pixelflow.settings import Settings
from pixelflow.settings.field_types import Networks


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of connections. Times are in seconds."""

    total: int
    per_client: int
    trusted_proxies: Networks
    """Not subject to ``per_client``: their connections carry the requests of many clients. Nor is a Unix socket."""
    header_seconds: float
    body_seconds: float
    keep_alive_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> ConnectionLimits:
        """The limits that the settings describe."""
        return cls(
            total=settings.api_max_connections,
            per_client=min(settings.api_max_connections_per_client, settings.api_max_connections),
            trusted_proxies=settings.trusted_proxies,
            header_seconds=settings.api_header_seconds,
            body_seconds=settings.api_body_seconds,
            keep_alive_seconds=settings.api_keep_alive_seconds,
        )


class ClientConnection(Protocol):
    """What the limits need of a connection."""

    peer: str
    """Its client's network, or a trusted proxy's address: those with the same share a limit."""

    def expire(self, now: float) -> None:
        """Close it, or answer for it, if its deadline has passed. ``now`` is the event loop's time."""

    def evict(self) -> None:
        """Close it at once, without an answer."""


class Connections:
    """The connections of a server. Of its event loop only."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._by_peer: dict[str, dict[ClientConnection, None]] = {}
        self._idle: dict[str, dict[ClientConnection, None]] = {}
        """Of each peer, the longest idle first."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def admit(self, connection: ClientConnection) -> PixelflowError | None:
        """Add a new, idle connection, in place of an idle one if a limit is reached. Return why it is refused."""
        peer = connection.peer
        exceeds = len(self._by_peer.get(peer, ())) >= self.limits.per_client and not self._is_proxy(peer)
        if exceeds and not self._evict(peer):
            return TooManyConnectionsError("All connections that your address may have are in use by requests")
        if self._count >= self.limits.total and not self._evict(self._most_idle()):
            return OverloadedError("All connections of the server are in use by requests")
        self._by_peer.setdefault(peer, {})[connection] = None
        self._count += 1
        self.mark_idle(connection)
        return None

    def mark_idle(self, connection: ClientConnection) -> None:
        """Its latest request has been answered, or is held."""
        if connection in self._by_peer.get(connection.peer, ()):
            self._idle.setdefault(connection.peer, {})[connection] = None

    def mark_busy(self, connection: ClientConnection) -> None:
        """A request has begun."""
        _remove(self._idle, connection)

    def remove(self, connection: ClientConnection) -> None:
        """It is closed. Does nothing if it is not among the connections."""
        _remove(self._idle, connection)
        self._count -= _remove(self._by_peer, connection)

    def expire(self, now: float) -> None:
        """Apply the deadlines of all connections."""
        for connections in list(self._by_peer.values()):
            for connection in list(connections):
                connection.expire(now)

    def _most_idle(self) -> str | None:
        return max(self._idle, key=lambda peer: len(self._idle[peer]), default=None)

    def _evict(self, peer: str | None) -> bool:
        """Close the longest idle connection of a peer, if there is one."""
        if peer is None or peer not in self._idle:
            return False
        oldest = next(iter(self._idle[peer]))
        self.remove(oldest)
        oldest.evict()
        return True

    def _is_proxy(self, peer: str) -> bool:
        return peer.startswith(_PROXY)

    def peer_of(self, host: str | None) -> str:
        """The peer that a connection from ``host`` counts for; those whose address is unknown share one."""
        if host is not None and self._is_trusted(host):
            return f"{_PROXY}{host}"
        return network_of(host or "")

    def _is_trusted(self, host: str) -> bool:
        if host == UNIX_SOCKET:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self.limits.trusted_proxies)


_PROXY = "proxy "
UNIX_SOCKET = "unix"
"""Stands for the address of a client of a Unix socket. It is trusted as a proxy: only the operator can make the socket,
whose permissions say who may connect."""


def client_of(client: tuple[str, int] | None, server: tuple[str, int | None] | None) -> tuple[str, int] | None:
    """Return the address and port of a client.

    That of an IPv4 client is IPv4 in any case: a socket for both versions shows it mapped, as ``::ffff:192.0.2.1``
    (RFC 4291, section 2.5.5.2). ``server`` is the address of the listening socket, without a port if it is a Unix
    socket. A client without an address that has connected by TCP is gone.
    """
    if client is None:
        return (UNIX_SOCKET, 0) if server is not None and server[1] is None else None
    address = ip_address(client[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return client if mapped is None else (str(mapped), client[1])


def proxies_of(networks: Networks) -> list[str]:
    """Return what uvicorn trusts: the networks, also as mapped addresses in ``X-Forwarded-For``, and Unix sockets."""
    mapped = [
        f"::ffff:{network.network_address}/{96 + network.prefixlen}"
        for network in networks
        if isinstance(network, IPv4Network)
    ]
    return [UNIX_SOCKET, *map(str, networks), *mapped]


def _remove(table: dict[str, dict[ClientConnection, None]], connection: ClientConnection) -> int:
    """Remove a connection from a table by peer. Return how many were removed."""
    row = table.get(connection.peer)
    if row is None or connection not in row:
        return 0
    del row[connection]
    if not row:
        del table[connection.peer]
    return 1
