"""The deadline of a request: bounds how long the API works on it, whatever it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pixelflow.errors import DeadlineExceededError


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Cancel what runs inside after ``seconds``, with its statements in the database.

    Raises:
        DeadlineExceededError: it took longer. It may have had effects.
    """
    try:
        async with asyncio.timeout(seconds) as timeout:
            yield
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise DeadlineExceededError(
            f"The API worked on this request for {seconds:g} s and gave up; repeat it with the same `Idempotency-Key`"
        ) from error
