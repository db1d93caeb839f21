"""A client that sends raw HTTP/1.1 and measures it: an ordinary client would use more CPU than the service."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field

MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Address:
    """Where the API listens, and the loopback address that a client connects from."""

    host: str
    port: int
    source: str


@dataclass(frozen=True)
class Answer:
    """A response and how long it took. ``status`` 0: the connection ended before a response."""

    status: int
    seconds: float
    body: bytes = b""


@dataclass
class Connection:
    """A persistent connection, opened again when the server has closed it. One request at a time."""

    address: Address
    key: str = ""
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None, repr=False)

    async def request(self, method: str, path: str, body: object = None) -> Answer:
        """Send one request and wait for its response. A connection that ended while idle is opened again first."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", f"Host: {self.address.host}", f"Content-Length: {len(content)}"]
        head += [f"Authorization: Bearer {self.key}"] if self.key else []
        head += ["Content-Type: application/json"] if content else []
        return await self.send("\r\n".join([*head, "", ""]).encode() + content)

    async def send(self, request: bytes) -> Answer:
        """Send these bytes and wait for a response."""
        began = time.perf_counter()
        try:
            reader, writer = await self._open()
            writer.write(request)
            status, body, stays = await _response(reader)
        except (OSError, EOFError, asyncio.LimitOverrunError):
            self.close()
            return Answer(0, time.perf_counter() - began)
        if not stays:
            self.close()
        return Answer(status, time.perf_counter() - began, body)

    async def open(self) -> asyncio.StreamWriter:
        """Open the connection and return its writer, for requests that are not well-formed."""
        return (await self._open())[1]

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                self.address.host, self.address.port, local_addr=(self.address.source, 0), limit=MAX_HEAD_BYTES
            )
        return self._streams

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Return status, body and whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    _, _, rest = head.partition(b"\r\ncontent-length:")
    body = await reader.readexactly(int(rest.partition(b"\r\n")[0] or b"0"))
    return status, body, b"\r\nconnection: close" not in head
