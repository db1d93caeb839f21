"""HTTP load generator: raw HTTP/1.1 over a few persistent connections, as fast as the server answers.

An ordinary client would use more CPU than the measured server. Only responses with a Content-Length are supported.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bench.figures import BenchError

CONNECTIONS = 8


@dataclass(frozen=True)
class Responses:
    """The responses to a list of requests, in the same order."""

    bodies: list[Any]
    seconds: float
    """From the first request to the last response."""


def post_request(url: str, path: str, body: object = None, *, key: str = "", idempotency_key: str = "") -> bytes:
    """Return the bytes of a POST request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"Content-Length: {len(content)}"]
    head += [f"Authorization: Bearer {key}"] if key else []
    head += [f"Idempotency-Key: {idempotency_key}"] if idempotency_key else []
    head += ["Content-Type: application/json"] if body is not None else []
    return "\r\n".join([*head, "", ""]).encode() + content


def get_request(url: str, path: str, *, key: str) -> bytes:
    """Return the bytes of a GET request."""
    head = [f"GET {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"Authorization: Bearer {key}"]
    return "\r\n".join([*head, "", ""]).encode()


def send_all(url: str, requests: Sequence[bytes], *, connections: int = CONNECTIONS, status: str = "2") -> Responses:
    """Send all requests over ``connections`` concurrent connections.

    Raises:
        BenchError: the status of a response does not start with ``status``.
    """
    return asyncio.run(_send_all(url, requests, connections, status))


async def _send_all(url: str, requests: Sequence[bytes], connections: int, status: str) -> Responses:
    place = urlsplit(url)
    open_ = [await asyncio.open_connection(place.hostname, place.port) for _ in range(connections)]
    bodies: list[Any] = [None] * len(requests)
    left = iter(range(len(requests)))

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for index in left:
            writer.write(requests[index])
            bodies[index] = await _response(reader, status)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for reader, writer in open_:
            group.create_task(work(reader, writer))
    seconds = time.perf_counter() - began
    for _, writer in open_:
        writer.close()
    return Responses([json.loads(body) for body in bodies], seconds)


async def _response(reader: asyncio.StreamReader, status: str) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, rest = head.partition(b"\r\ncontent-length:")
    body = await reader.readexactly(int(rest.partition(b"\r\n")[0]))
    if not head.startswith(f"http/1.1 {status}".encode()):
        raise BenchError(f"a server answered {head[:40]!r}: {body[:300]!r}")
    return body
