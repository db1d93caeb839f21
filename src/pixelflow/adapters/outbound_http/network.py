"""Connections to judged addresses only: names are resolved here, and what was judged is what is connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any, TypeAlias

import httpcore

from pixelflow.adapters.outbound_http.addresses import Address
from pixelflow.adapters.outbound_http.rule import OutboundRule
from pixelflow.contracts.errors import DependencyError, TargetUnreachableError

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""All addresses of a name; raises ``OSError`` if it has none, ``DependencyError`` if it could not be asked for."""

RESOLVERS = 128
"""Threads: two for each call that a courier has in hand. A name whose servers are silent holds one for as long as the
system's resolver is patient, which is longer than anybody waits for it."""
RESOLVER_OPTIONS = "timeout:1 attempts:2"
"""For a process's ``RES_OPTIONS`` (resolv.conf(5)): seconds for each try at a name server, and tries. The defaults, 5
and 2, hold a thread for up to 30 s with three silent servers."""
RESOLVE_SECONDS = 5.0
CONNECT_SECONDS = 3.0
"""For each address: the next one has its turn before all the time is gone."""
MAX_ADDRESSES = 4
"""That are tried."""


LookUp: TypeAlias = Callable[[str], list[Any]]
"""As ``socket.getaddrinfo`` answers."""


def _look_up(name: str) -> list[Any]:
    return socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)


class SystemResolver:
    """The system's resolver, on threads of its own: silent name servers must not hold up anything else."""

    def __init__(
        self, look_up: LookUp = _look_up, *, threads: int = RESOLVERS, patience: float = RESOLVE_SECONDS
    ) -> None:
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")
        self._patience = patience

    async def __call__(self, name: str) -> Sequence[Address]:
        """See :data:`Resolve`."""
        looked_up = self._threads.submit(self._look_up, name)
        try:
            async with asyncio.timeout(self._patience):
                rows = await asyncio.wrap_future(looked_up)
        except TimeoutError as error:
            if looked_up.cancel():  # which succeeds as long as it has not begun
                raise DependencyError("All threads that resolve names are busy") from error
            raise
        return [ip_address(row[4][0]) for row in rows]

    def close(self) -> None:
        """Wait for nobody; look-ups that have not begun never do."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class JudgedNetwork(httpcore.AsyncNetworkBackend):
    """What httpcore connects by."""

    def __init__(self, rule: OutboundRule, resolve: Resolve) -> None:
        self._rule = rule
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of ``host`` that answers, if all that it leads to may be called.

        Raises:
            TargetRefusedError: it must not be called.
            TargetUnreachableError: its name can't be resolved.
            DependencyError: nobody was free to resolve it.
            httpcore.ConnectError, httpcore.ConnectTimeout: none of its addresses answers.
        """
        addresses = self._rule.usable(await self._addresses(host))[:MAX_ADDRESSES]
        for address in addresses[:-1]:
            try:
                return await self._connect(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connect(addresses[-1], port, timeout, local_address, socket_options)

    async def _connect(
        self,
        address: Address,
        port: int,
        timeout: float | None,  # noqa: ASYNC109  # httpcore's interface
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        patience = min(timeout or CONNECT_SECONDS, CONNECT_SECONDS)
        return await self._network.connect_tcp(str(address), port, patience, local_address, socket_options)

    async def _addresses(self, host: str) -> Sequence[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            found = await self._resolve(host)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise TargetUnreachableError("The name of the host can't be resolved") from error
        if not found:
            raise TargetUnreachableError("The name of the host has no address")
        return found
