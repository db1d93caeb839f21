"""Requests that wait for changes: long polls and event streams.

While a request waits, its deadline is suspended, its connection gives way to new ones like an idle one, and the time
does not count as time of the service. It ends when its client disconnects.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from pixelflow.controlplane.api.auth import bearer_of
from pixelflow.controlplane.api.deadline import deadline, suspended
from pixelflow.controlplane.api.middleware import idle
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.keys.service import key_id_in
from pixelflow.controlplane.live.service import Caller

T = TypeVar("T")

Chunks = AsyncGenerator[bytes, None]

_NO_CONTENT = 204


def caller_of(request: Request) -> Caller:
    """Who sent the authenticated request."""
    identity: Identity = request.state.identity
    return Caller(identity.user_id, key_id_in(bearer_of(request.scope)))


async def wait_in(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do ``work``, which only waits, before the response of the request.

    Raises:
        ClientDisconnect: nobody waits for the response any more.
    """
    with suspended(request.state.deadline), idle(request.scope):
        return await _unless_disconnected(request.receive, work)


class EventStream(Response):
    """A response of ``text/event-stream`` whose end is not known when it starts."""

    media_type = "text/event-stream"

    def __init__(
        self, stream: Callable[[], AbstractAsyncContextManager[Chunks | None]], *, open_seconds: float
    ) -> None:
        """Create the response.

        Args:
            stream: opens the chunks, and may raise errors that have a response of their own; ``None``: there will be
                none, and the client must not ask again. The response is 204 then, which ends an ``EventSource``.
            open_seconds: deadline of opening it.
        """
        super().__init__(headers={"X-Accel-Buffering": "no"})  # nginx would collect the events
        del self.headers["content-length"]
        self._stream = stream
        self._open_seconds = open_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the chunks until there are no more, or the client disconnects."""
        async with AsyncExitStack() as stack:
            async with deadline(self._open_seconds):
                chunks = await stack.enter_async_context(self._stream())
            if chunks is None:
                await Response(status_code=_NO_CONTENT)(scope, receive, send)
                return
            await _unless_disconnected(receive, self._send(chunks, scope, send))

    async def _send(self, chunks: Chunks, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with idle(scope):
            async with aclosing(chunks):
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _unless_disconnected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    working, gone = asyncio.create_task(work), asyncio.create_task(_disconnection(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        gone.result()  # raises if the body did not arrive
        raise ClientDisconnect
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
