"""Names whose servers are silent, and the threads that wait for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from typing import Any

import pytest

from pixelflow.adapters.outbound_http import OutboundHttp, OutboundRule, SystemResolver
from pixelflow.contracts.errors import DependencyError, TargetUnreachableError
from pixelflow.controlplane.webhooks.dispatcher import IN_HAND


class Servers:
    """Name servers of which some say nothing until the end of the test."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.begun = threading.Semaphore(0)

    def look_up(self, name: str) -> list[Any]:
        """As ``socket.getaddrinfo`` does."""
        if name == "silent.example":
            self.begun.release()
            self.ended.wait(20)
        return [(0, 0, 0, "", ("203.0.113.7", 0))]


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    made.ended.set()


async def all_begun(servers: Servers, count: int) -> None:
    for _ in range(count):
        assert await asyncio.to_thread(servers.begun.acquire, timeout=10)


async def test_all_calls_in_hand_may_wait_for_silent_servers_and_the_next_ones_find_a_thread(servers: Servers) -> None:
    with closing(SystemResolver(servers.look_up)) as resolve:
        silent = [asyncio.ensure_future(resolve("silent.example")) for _ in range(IN_HAND)]
        await all_begun(servers, IN_HAND)
        async with asyncio.timeout(2):
            assert await resolve("client.example") == [ip_address("203.0.113.7")]
        servers.ended.set()
        await asyncio.gather(*silent)


async def test_waiting_for_a_thread_is_no_answer_about_the_name(servers: Servers) -> None:
    with closing(SystemResolver(servers.look_up, threads=1, patience=0.2)) as resolve:
        first = asyncio.ensure_future(resolve("silent.example"))
        await all_begun(servers, 1)
        with pytest.raises(DependencyError):
            await resolve("client.example")
        with pytest.raises(TimeoutError):
            await first


async def test_silence_about_a_name_is_told_of_the_target(servers: Servers) -> None:
    with (
        closing(SystemResolver(servers.look_up, patience=0.1)) as resolve,
        closing(OutboundHttp(OutboundRule(), resolve=resolve)) as http,
        pytest.raises(TargetUnreachableError),
    ):
        await http.request("POST", "https://silent.example/", timeout=5, max_bytes=1)
