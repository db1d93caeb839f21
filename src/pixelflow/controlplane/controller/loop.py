"""Runs a loop's ``run_once`` again and again: at once while there is work, else after a pause; errors never end it."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from pixelflow.contracts.errors import DependencyError
from pixelflow.controlplane.controller.metrics import ControllerMetrics, TickOutcome

MAX_BACKOFF_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class LoopBody(Protocol):
    """One round of a loop."""

    async def run_once(self) -> int:
        """Do what there is to do; returns how much it was."""


async def run_loop(work: LoopBody, *, pause: float, stop: asyncio.Event, metrics: ControllerMetrics) -> None:
    """Run until ``stop`` is set.

    Args:
        work: the loop's work.
        pause: seconds between rounds that find nothing.
        stop: when to end; the round under way is finished.
        metrics: told of each round.
    """
    wait, name = pause, type(work).__name__.lower()
    metrics.loop_began(name)
    while not stop.is_set():
        try:
            done = await work.run_once()
            wait = 0.0 if done else pause
            outcome = TickOutcome.DONE if done else TickOutcome.IDLE
        except DependencyError as error:
            wait = min(MAX_BACKOFF_SECONDS, max(wait, pause) * 2)
            outcome = TickOutcome.UNAVAILABLE
            _log.warning("dependency unavailable", loop=name, code=error.code)
        except Exception:  # noqa: BLE001  # a bug in one round must not end the loop for good
            wait = MAX_BACKOFF_SECONDS
            outcome = TickOutcome.FAILED
            _log.exception("loop failed", loop=name)
        metrics.round_ended(name, outcome)
        await _sleep(wait, stop)


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
