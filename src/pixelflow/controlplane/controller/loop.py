"""Runs a loop until it is stopped: immediately again while there is work, else after a pause. Errors never end it."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from pixelflow.controlplane.controller.metrics import ControllerMetrics, TickOutcome
from pixelflow.errors import DependencyError

MAX_BACKOFF_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class LoopBody(Protocol):
    """The body of a loop."""

    name: str
    """In metrics and logs."""

    async def run_once(self) -> int:
        """Run one tick; returns how many items it processed. 0: there was nothing to do."""


async def run_loop(body: LoopBody, *, pause: float, stop: asyncio.Event, metrics: ControllerMetrics) -> None:
    """Run until ``stop`` is set.

    Args:
        body: the loop.
        pause: seconds to wait after a tick that found nothing to do.
        stop: ends the loop after the current tick.
        metrics: records each tick.
    """
    wait = pause
    metrics.record_loop_start(body.name)
    while not stop.is_set():
        try:
            done = await body.run_once()
            wait = 0.0 if done else pause
            outcome = TickOutcome.DONE if done else TickOutcome.IDLE
        except DependencyError as error:
            wait = min(MAX_BACKOFF_SECONDS, max(wait, pause) * 2)
            outcome = TickOutcome.UNAVAILABLE
            _log.warning("dependency unavailable", loop=body.name, code=error.code)
        except Exception:  # noqa: BLE001  # a bug in one tick must not end the loop
            wait = MAX_BACKOFF_SECONDS
            outcome = TickOutcome.FAILED
            _log.exception("loop failed", loop=body.name)
        metrics.record_tick(body.name, outcome)
        await _sleep(wait, stop)


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
