"""Requests as fast as a server takes them: raw HTTP/1.1 over a few connections that stay open.

An ordinary client would cost more processor time than the server that is measured. Knows only what our own servers
answer: bodies with a length.
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
class Answered:
    """All answers to some requests, in the order of the requests."""

    bodies: list[Any]
    seconds: float
    """From the first request to the last answer."""


def post_request(url: str, path: str, body: object = None, *, key: str = "") -> bytes:
    """One POST as it goes over the wire."""
    content = b"" if body is None else json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"Content-Length: {len(content)}"]
    head += [f"Authorization: Bearer {key}"] if key else []
    head += ["Content-Type: application/json"] if body is not None else []
    return "\r\n".join([*head, "", ""]).encode() + content


def post_all(url: str, requests: Sequence[bytes], *, connections: int = CONNECTIONS) -> Answered:
    """Send all of them, ``connections`` at a time.

    Raises:
        BenchError: an answer was no success.
    """
    return asyncio.run(_post_all(url, requests, connections))


async def _post_all(url: str, requests: Sequence[bytes], connections: int) -> Answered:
    place = urlsplit(url)
    open_ = [await asyncio.open_connection(place.hostname, place.port) for _ in range(connections)]
    bodies: list[Any] = [None] * len(requests)
    left = iter(range(len(requests)))

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for index in left:
            writer.write(requests[index])
            bodies[index] = await _answer(reader)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for reader, writer in open_:
            group.create_task(work(reader, writer))
    seconds = time.perf_counter() - began
    for _, writer in open_:
        writer.close()
    return Answered([json.loads(body) for body in bodies], seconds)


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, rest = head.partition(b"\r\ncontent-length:")
    body = await reader.readexactly(int(rest.partition(b"\r\n")[0]))
    if not head.startswith(b"http/1.1 2"):
        raise BenchError(f"a server answered {head[:40]!r}: {body[:300]!r}")
    return body
