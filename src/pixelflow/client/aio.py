"""The asynchronous client. Drives the operations; what they do is told in ``operations`` and ``transfers`` alone.

Files are read and written on threads, so that no disk holds up the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from pixelflow.client import operations, transfers, usage, webhooks, wire
from pixelflow.client.errors import mapped
from pixelflow.client.exchange import Flow, Operation, Request, Response, Sleep
from pixelflow.client.session import Session, open_session

P = ParamSpec("P")
T = TypeVar("T")


def _method(
    operation: Callable[Concatenate[Session, P], Operation[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @wraps(operation)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(operation(self._session, *args, **kwargs))

    return method


def _iterator(
    flow: Callable[Concatenate[Session, P], Flow[T]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]:
    @wraps(flow)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        for operation in flow(self._session, *args, **kwargs):
            for item in await self._run(operation):
                yield item

    return method


class AsyncClient:
    """A PixelFlow API, for programs on asyncio. Close it, or use it in ``async with``.

    Args:
        api_url: such as ``http://127.0.0.1:8080``; left out: ``PIXELFLOW_API_URL``.
        api_key: left out: ``PIXELFLOW_API_KEY``.
        session: instead of both, with a clock and a chance of your own.
        sleep: lets so many seconds pass.

    Raises:
        ConfigurationError: something is missing or can't be right.
    """

    def __init__(
        self,
        api_url: str | None = None,
        api_key: str | None = None,
        *,
        session: Session | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._session = session or open_session(api_url, api_key)
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            timeout=wire.TIMEOUT, limits=wire.LIMITS, verify=wire.tls(), mounts=dict.fromkeys(wire.DIRECT)
        )

    create_job = _method(operations.create_job)
    upload = _method(transfers.upload)
    start_job = _method(operations.start_job)
    cancel_job = _method(operations.cancel_job)
    retry_job = _method(operations.retry_job)
    erase_job = _method(operations.erase_job)
    get_job = _method(operations.get_job)
    list_jobs = _method(operations.list_jobs)
    iter_jobs = _iterator(operations.iter_jobs)
    wait = _method(operations.wait)
    download = _method(transfers.download)
    submit = _method(operations.submit)
    process = _method(operations.process)
    list_deliveries = _method(webhooks.list_deliveries)
    replay_delivery = _method(webhooks.replay_delivery)
    rotate_webhook_secret = _method(webhooks.rotate_webhook_secret)
    get_usage_by_day = _method(usage.get_usage_by_day)
    get_usage_by_user = _method(usage.get_usage_by_user)

    async def aclose(self) -> None:
        """Give up all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._session.api_url!r})"

    async def _run(self, operation: Operation[T]) -> T:
        advance: Callable[[], Request | Sleep] = partial(next, operation)
        while True:
            try:
                asked = advance()
            except StopIteration as done:
                result: T = done.value
                return result
            try:
                answer = await self._perform(asked)
            except BaseException as error:  # noqa: BLE001 - the operation cleans up and decides
                advance = partial(operation.throw, error)
            else:
                advance = partial(operation.send, answer)

    async def _perform(self, asked: Request | Sleep) -> Response | None:
        if isinstance(asked, Sleep):
            await self._sleep(asked.seconds)
            return None
        body = _threaded(asked.body()) if callable(asked.body) else asked.body
        with mapped(asked.url):
            async with aclosing(await self._http.send(wire.prepared(asked, body), stream=True)) as answer:
                intake = wire.Intake(asked, answer)
                async for chunk in answer.aiter_bytes():
                    await asyncio.to_thread(intake.take, chunk)
                return intake.response()


async def _threaded(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
