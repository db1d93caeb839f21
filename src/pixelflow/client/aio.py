"""The asynchronous client: runs the operations. It must not implement any operation itself.

Files are read and written in threads, so that disk I/O does not block the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from uuid import UUID

import httpx

from pixelflow.client import (
    assets,
    batches,
    capabilities,
    job_lists,
    keys,
    operations,
    presets,
    transfers,
    transport,
    usage,
    waiting,
    webhook_endpoints,
    webhooks,
)
from pixelflow.client.errors import map_httpx_errors
from pixelflow.client.local_session import find_session
from pixelflow.client.models import Operation, Paginator, Request, Response, Sleep
from pixelflow.client.session import Session
from pixelflow.client.streams import EventReader, StreamedEvent

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
    paginator: Callable[Concatenate[Session, P], Paginator[T]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]:
    @wraps(paginator)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        for operation in paginator(self._session, *args, **kwargs):
            for item in await self._run(operation):
                yield item

    return method


async def _events(
    self: AsyncClient,
    job_id: UUID | str | None = None,
    *,
    last_event_id: str | None = None,
    on_position: Callable[[str], None] | None = None,
) -> AsyncIterator[StreamedEvent]:
    """As :meth:`pixelflow.client.Client.events`."""
    reader = EventReader(self._session, job_id, last_event_id, on_position)
    while True:
        async with aclosing(self._read_events(reader)) as events:
            async for event in events:
                if event is not None:
                    yield event
                reader.report_position()
        if reader.ended:
            return
        await self._sleep(reader.pause())


class AsyncClient:
    """An asyncio client of a PixelFlow API. Close it, or use it in an ``async with`` statement.

    Args:
        api_url: such as ``http://127.0.0.1:8080``. Default: the environment variable ``PIXELFLOW_API_URL``.
        api_key: default: the environment variable ``PIXELFLOW_API_KEY``. If neither has a value, both come from the
            home of ``pixelflow up`` on this machine, which ``PIXELFLOW_HOME`` can name.
        session: replaces both; lets tests set the clock and the jitter.
        sleep: waits for the given number of seconds.

    Raises:
        ConfigurationError: the URL or the key is missing or not valid.
        ConnectionFailedError: the stack of the local home is not running.
    """

    def __init__(
        self,
        api_url: str | None = None,
        api_key: str | None = None,
        *,
        session: Session | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._session = session or find_session(api_url, api_key)
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            timeout=transport.TIMEOUT,
            limits=transport.LIMITS,
            verify=transport.ssl_context(),
            mounts=dict.fromkeys(transport.NO_PROXY),
        )

    create_job = _method(operations.create_job)
    explain = _method(operations.explain)
    upload = _method(transfers.upload)
    start_job = _method(operations.start_job)
    cancel_job = _method(operations.cancel_job)
    retry_job = _method(operations.retry_job)
    erase_job = _method(operations.erase_job)
    get_job = _method(operations.get_job)
    list_jobs = _method(job_lists.list_jobs)
    iter_jobs = _iterator(job_lists.iter_jobs)
    wait = _method(waiting.wait)
    events = _events
    download = _method(transfers.download)
    download_bytes = _method(transfers.download_bytes)
    submit = _method(operations.submit)
    process = _method(operations.process)
    create_asset = _method(assets.create_asset)
    get_asset = _method(assets.get_asset)
    list_assets = _method(assets.list_assets)
    delete_asset = _method(assets.delete_asset)
    save_preset = _method(presets.save_preset)
    get_preset = _method(presets.get_preset)
    list_presets = _method(presets.list_presets)
    delete_preset = _method(presets.delete_preset)
    create_batch = _method(batches.create_batch)
    add_to_batch = _method(batches.add_to_batch)
    rerun_in_batch = _method(batches.rerun_in_batch)
    get_batch = _method(batches.get_batch)
    list_batches = _method(batches.list_batches)
    iter_batches = _iterator(batches.iter_batches)
    wait_for_batch = _method(batches.wait_for_batch)
    close_batch = _method(batches.close_batch)
    cancel_batch = _method(batches.cancel_batch)
    delete_batch = _method(batches.delete_batch)
    list_batch_deliveries = _method(batches.list_batch_deliveries)
    list_deliveries = _method(webhooks.list_deliveries)
    replay_delivery = _method(webhooks.replay_delivery)
    create_webhook_secret = _method(webhooks.create_webhook_secret)
    rotate_webhook_secret = _method(webhooks.rotate_webhook_secret)
    create_webhook_endpoint = _method(webhook_endpoints.create_webhook_endpoint)
    get_webhook_endpoint = _method(webhook_endpoints.get_webhook_endpoint)
    list_webhook_endpoints = _method(webhook_endpoints.list_webhook_endpoints)
    update_webhook_endpoint = _method(webhook_endpoints.update_webhook_endpoint)
    delete_webhook_endpoint = _method(webhook_endpoints.delete_webhook_endpoint)
    test_webhook_endpoint = _method(webhook_endpoints.test_webhook_endpoint)
    list_endpoint_deliveries = _method(webhook_endpoints.list_endpoint_deliveries)
    create_key = _method(keys.create_key)
    list_keys = _method(keys.list_keys)
    revoke_key = _method(keys.revoke_key)
    get_usage_by_day = _method(usage.get_usage_by_day)
    get_usage_by_user = _method(usage.get_usage_by_user)
    capabilities = _method(capabilities.capabilities)

    async def aclose(self) -> None:
        """Close all connections."""
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
                request = advance()
            except StopIteration as done:
                result: T = done.value
                return result
            try:
                response = await self._perform(request)
            except BaseException as error:  # noqa: BLE001 - the operation cleans up and handles the error
                advance = partial(operation.throw, error)
            else:
                advance = partial(operation.send, response)

    async def _read_events(self, reader: EventReader) -> AsyncGenerator[StreamedEvent | None, None]:
        request = reader.request()
        with reader.connection(), map_httpx_errors(request.url):
            async with aclosing(await self._http.send(transport.to_httpx(request, b""), stream=True)) as response:
                head = transport.ResponseReader(request, response)
                if not transport.is_stream(response):
                    async for chunk in response.aiter_bytes():
                        head.feed(chunk)
                reader.open(head.response())
                if transport.is_stream(response):
                    async for chunk in response.aiter_bytes():
                        for event in reader.feed(chunk):
                            yield event
                        if reader.ended:  # what is between may keep the connection open
                            return

    async def _perform(self, request: Request | Sleep) -> Response | None:
        if isinstance(request, Sleep):
            await self._sleep(request.seconds)
            return None
        body = _read_in_thread(request.body()) if callable(request.body) else request.body
        with map_httpx_errors(request.url):
            async with aclosing(await self._http.send(transport.to_httpx(request, body), stream=True)) as response:
                reader = transport.ResponseReader(request, response)
                async for chunk in response.aiter_bytes():
                    await asyncio.to_thread(reader.feed, chunk)
                return reader.response()


async def _read_in_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
