"""Whether what a process stands on answers: asked at most once a second, however often somebody wants to know.

It must never need a key, nor let a stranger take up the connections that requests need.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Literal, Protocol

import structlog

from pixelflow.contracts.errors import DependencyError

_PATIENCE_SECONDS = 2.0
_KEPT_SECONDS = 1.0
ROUND_SECONDS = 10.0
"""Between two rounds that nobody asked for. Object storage is asked by a listing, and some providers bill each."""
_GOODBYE_SECONDS = 2.0

HealthStatus = Literal["ok", "unavailable"]
Check = Callable[[], Awaitable[None]]
"""Raises DependencyError where a server can't be used."""

_log = structlog.get_logger(__name__)


class HealthObserver(Protocol):
    """Is told of each verdict."""

    def __call__(self, dependency: str, *, up: bool) -> None:
        """A server was asked."""


class HealthChecks:
    """The latest verdict on each server."""

    def __init__(
        self, checks: Mapping[str, Check], *, judged: HealthObserver, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks = checks
        self._judged = judged
        self._clock = clock
        self._asking = asyncio.Lock()
        self._kept: dict[str, HealthStatus] = {}
        self._kept_until = float("-inf")

    async def verdicts(self) -> dict[str, HealthStatus]:
        """One per server, at most a second old."""
        async with self._asking:
            if self._clock() >= self._kept_until:
                judged = await asyncio.gather(*map(_judge, self._checks.values()))
                self._kept = dict(zip(self._checks, judged, strict=True))
                self._kept_until = self._clock() + _KEPT_SECONDS
                for dependency, verdict in self._kept.items():
                    self._judged(dependency, up=verdict == "ok")
            return self._kept

    async def ask_until(self, stop: asyncio.Event) -> None:
        """Ask also while nobody wants to know, so that what the metrics tell is of now."""
        while not stop.is_set():
            try:
                await self.verdicts()
            except Exception:  # noqa: BLE001  # a bug of one check must not end it for good
                _log.exception("dependencies not asked")
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), ROUND_SECONDS)


@asynccontextmanager
async def checked(dependencies: HealthChecks) -> AsyncIterator[None]:
    """Have them asked for as long as the context lasts."""
    stop = asyncio.Event()
    asking = asyncio.create_task(dependencies.ask_until(stop))
    try:
        yield
    finally:
        stop.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(asking, _GOODBYE_SECONDS)


@contextmanager
def checked_in_a_thread(opened: Callable[[], AbstractAsyncContextManager[HealthChecks]]) -> Iterator[None]:
    """The same, for a process that has no event loop; ``opened`` makes them in the one that they get."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    asking = _open_and_ask(opened, stop)
    thread = threading.Thread(target=loop.run_until_complete, args=(asking,), name="dependencies", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_GOODBYE_SECONDS)
        # A server that hangs is not waited for, and what is left of the question goes without a word.
        loop.set_exception_handler(lambda _loop, _left: None)


async def _open_and_ask(opened: Callable[[], AbstractAsyncContextManager[HealthChecks]], stop: asyncio.Event) -> None:
    async with opened() as dependencies:
        await dependencies.ask_until(stop)


async def _judge(check: Check) -> HealthStatus:
    try:
        await asyncio.wait_for(check(), _PATIENCE_SECONDS)
    except (DependencyError, TimeoutError):
        return "unavailable"
    return "ok"
