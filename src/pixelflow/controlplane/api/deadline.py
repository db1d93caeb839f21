"""The deadline of a request: bounds how long the API works on it, whatever it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from pixelflow.errors import DeadlineExceededError


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Cancel what runs inside after ``seconds``, with its statements in the database.

    Yields what :func:`suspended` takes.

    Raises:
        DeadlineExceededError: it took longer. It may have had effects.
    """
    try:
        async with asyncio.timeout(seconds) as timeout:
            yield timeout
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise DeadlineExceededError(
            f"The API worked on this request for {seconds:g} s and gave up; repeat it with the same `Idempotency-Key`"
        ) from error


@contextmanager
def suspended(timeout: asyncio.Timeout) -> Iterator[None]:
    """Stop the clock of a deadline: what runs inside only waits, and has a limit of its own."""
    loop, when = asyncio.get_running_loop(), timeout.when()
    left = None if when is None else when - loop.time()
    timeout.reschedule(None)
    try:
        yield
    finally:
        if left is not None and not timeout.expired():
            timeout.reschedule(loop.time() + left)
