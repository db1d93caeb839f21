"""The resolver's threads while name servers do not answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from typing import Any

import pytest
from tests.support.waiting import DEADLINE_SECONDS

from pixelflow.adapters.outbound_http import OutboundHttp, OutboundRule, SystemResolver
from pixelflow.controlplane.webhooks.dispatcher import MAX_CONCURRENT
from pixelflow.errors import DependencyError, TargetUnreachableError


class Servers:
    """Name servers, some of which do not answer until the end of the test."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.begun = threading.Semaphore(0)

    def lookup(self, name: str) -> list[Any]:
        """Like ``socket.getaddrinfo``."""
        if name == "silent.example":
            self.begun.release()
            self.ended.wait(120)
        return [(0, 0, 0, "", ("203.0.113.7", 0))]


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    made.ended.set()


async def all_begun(servers: Servers, count: int) -> None:
    for _ in range(count):
        assert await asyncio.to_thread(servers.begun.acquire, timeout=DEADLINE_SECONDS)


async def test_a_full_dispatcher_of_blocked_lookups_leaves_threads_for_others(servers: Servers) -> None:
    with closing(SystemResolver(servers.lookup)) as resolve:
        silent = [asyncio.ensure_future(resolve("silent.example")) for _ in range(MAX_CONCURRENT)]
        await all_begun(servers, MAX_CONCURRENT)
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await resolve("client.example") == [ip_address("203.0.113.7")]
        servers.ended.set()
        await asyncio.gather(*silent)


async def test_no_free_thread_is_a_dependency_error(servers: Servers) -> None:
    with closing(SystemResolver(servers.lookup, threads=1, timeout=0.2)) as resolve:
        first = asyncio.ensure_future(resolve("silent.example"))
        await all_begun(servers, 1)
        with pytest.raises(DependencyError):
            await resolve("client.example")
        with pytest.raises(TimeoutError):
            await first


async def test_a_lookup_without_an_answer_makes_the_target_unreachable(servers: Servers) -> None:
    with (
        closing(SystemResolver(servers.lookup, timeout=0.1)) as resolve,
        closing(OutboundHttp(OutboundRule(), resolve=resolve)) as http,
        pytest.raises(TargetUnreachableError),
    ):
        await http.request("POST", "https://silent.example/", timeout=60, max_bytes=1)
