"""Health checks of the servers that a process needs.

Each server is checked at most once a second, for any number of callers: clients need no key, and must not use up the
connections that requests need.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Literal, Protocol

import structlog

from pixelflow.errors import DependencyError

_TIMEOUT_SECONDS = 2.0
_CACHE_SECONDS = 1.0
INTERVAL_SECONDS = 10.0
"""Between two background checks. Object storage is checked by a listing, and some providers bill each."""
_STOP_SECONDS = 2.0

HealthStatus = Literal["ok", "unavailable"]
Check = Callable[[], Awaitable[None]]
"""Raises DependencyError if the server is unavailable."""

_log = structlog.get_logger(__name__)


class StatusObserver(Protocol):
    """Called with the result of each check."""

    def __call__(self, dependency: str, *, up: bool) -> None:
        """A server was checked."""


class HealthChecks:
    """The latest status of each server."""

    def __init__(
        self, checks: Mapping[str, Check], *, on_status: StatusObserver, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks = checks
        self._on_status = on_status
        self._clock = clock
        self._lock = asyncio.Lock()
        self._statuses: dict[str, HealthStatus] = {}
        self._valid_until = float("-inf")

    async def statuses(self) -> dict[str, HealthStatus]:
        """The status of each server, at most a second old."""
        async with self._lock:
            if self._clock() >= self._valid_until:
                statuses = await asyncio.gather(*map(_status, self._checks.values()))
                self._statuses = dict(zip(self._checks, statuses, strict=True))
                self._valid_until = self._clock() + _CACHE_SECONDS
                for dependency, status in self._statuses.items():
                    self._on_status(dependency, up=status == "ok")
            return self._statuses

    def unavailable(self) -> list[str]:
        """The servers that were unavailable at the latest check; none before the first. Does not check."""
        return [dependency for dependency, status in self._statuses.items() if status != "ok"]

    async def run_until(self, stop: asyncio.Event) -> None:
        """Check in the background too, so that the metrics are current."""
        while not stop.is_set():
            try:
                await self.statuses()
            except Exception:  # noqa: BLE001  # a bug in one check must not end the checks
                _log.exception("health checks failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), INTERVAL_SECONDS)


@asynccontextmanager
async def run_health_checks(checks: HealthChecks) -> AsyncIterator[None]:
    """Run the checks in the background while the context lasts."""
    stop = asyncio.Event()
    running = asyncio.create_task(checks.run_until(stop))
    try:
        yield
    finally:
        stop.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(running, _STOP_SECONDS)


@contextmanager
def run_health_checks_in_thread(
    open_checks: Callable[[], AbstractAsyncContextManager[HealthChecks]],
) -> Iterator[None]:
    """As :func:`run_health_checks`, for a process without an event loop; ``open_checks`` is called in a new one."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    running = _open_and_run(open_checks, stop)
    thread = threading.Thread(target=loop.run_until_complete, args=(running,), name="health-checks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_STOP_SECONDS)
        # A check of a server that hangs is abandoned; asyncio must not log what is left of it.
        loop.set_exception_handler(lambda _loop, _context: None)


async def _open_and_run(
    open_checks: Callable[[], AbstractAsyncContextManager[HealthChecks]], stop: asyncio.Event
) -> None:
    async with open_checks() as checks:
        await checks.run_until(stop)


async def _status(check: Check) -> HealthStatus:
    try:
        await asyncio.wait_for(check(), _TIMEOUT_SECONDS)
    except (DependencyError, TimeoutError):
        return "unavailable"
    return "ok"
