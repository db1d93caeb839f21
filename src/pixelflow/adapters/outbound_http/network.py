"""Resolves hosts, checks their addresses, and connects to the addresses that were checked."""

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
from pixelflow.errors import DependencyError, TargetUnreachableError

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""Returns all addresses of a name; raises ``OSError`` if there are none, ``DependencyError`` if it could not start."""

RESOLVER_THREADS = 128
"""Two for each concurrent delivery of a dispatcher. A lookup whose name servers don't answer blocks a thread until the
system's resolver times out, which is longer than any caller waits."""
RESOLVER_OPTIONS = "timeout:1 attempts:2"
"""For a process's ``RES_OPTIONS`` (resolv.conf(5)): seconds of each query to a name server, and number of queries. The
defaults, 5 and 2, block a thread for up to 30 s if three servers don't answer."""
RESOLVE_SECONDS = 5.0
CONNECT_SECONDS = 3.0
"""For each address, so that the next one can be tried within the total timeout."""
MAX_ADDRESSES = 4
"""How many addresses of a host are tried."""


Lookup: TypeAlias = Callable[[str], list[Any]]
"""Returns rows like ``socket.getaddrinfo``."""


def _lookup(name: str) -> list[Any]:
    return socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)


class SystemResolver:
    """The system's resolver, in its own threads, so that slow name servers delay nothing else."""

    def __init__(
        self, lookup: Lookup = _lookup, *, threads: int = RESOLVER_THREADS, timeout: float = RESOLVE_SECONDS
    ) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")
        self._timeout = timeout

    async def __call__(self, name: str) -> Sequence[Address]:
        """See :data:`Resolve`."""
        future = self._threads.submit(self._lookup, name)
        try:
            async with asyncio.timeout(self._timeout):
                rows = await asyncio.wrap_future(future)
        except TimeoutError as error:
            if future.cancel():  # succeeds only if the lookup has not started
                raise DependencyError("All resolver threads are busy") from error
            raise
        return [ip_address(row[4][0]) for row in rows]

    def close(self) -> None:
        """Cancel the lookups that have not started; doesn't wait for the others."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """The network backend of httpcore."""

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
        """Connect to the first address of ``host`` that answers, if the rule allows the host's addresses.

        Raises:
            TargetRefusedError: the addresses are not allowed.
            TargetUnreachableError: the host can't be resolved.
            DependencyError: no resolver thread was free.
            httpcore.ConnectError, httpcore.ConnectTimeout: no address answers.
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
        limit = min(timeout or CONNECT_SECONDS, CONNECT_SECONDS)
        return await self._network.connect_tcp(str(address), port, limit, local_address, socket_options)

    async def _addresses(self, host: str) -> Sequence[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            found = await self._resolve(host)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise TargetUnreachableError("The host name can't be resolved") from error
        if not found:
            raise TargetUnreachableError("The host name has no address")
        return found
