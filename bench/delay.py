"""A TCP proxy that delivers every byte later, in both directions: storage at a distance, on loopback.

Bandwidth is not limited, and the handshake of a new connection is not delayed. It never looks at the bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

_CHUNK_BYTES = 256 * 1024
_CHUNKS = 256
"""Chunks on their way in one direction; then the sender has to wait, as for a TCP window."""

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def serve(listening: socket.socket, host: str, port: int, seconds: float) -> None:
    """Forward connections to ``host`` and ``port`` until canceled, each byte ``seconds`` later in each direction."""
    server = await asyncio.start_server(_forward_to(host, port, seconds), sock=listening)
    async with server:
        await server.serve_forever()


def _forward_to(host: str, port: int, seconds: float) -> Connected:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_delayed(reader, to_writer, seconds), _delayed(to_reader, writer, seconds))
        finally:
            writer.close()
            to_writer.close()

    return forward


async def _delayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    on_their_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)
    delivering = asyncio.create_task(_deliver(on_their_way, writer))
    now = asyncio.get_running_loop().time
    try:
        while True:
            chunk = b""
            with contextlib.suppress(ConnectionError):
                chunk = await reader.read(_CHUNK_BYTES)
            await on_their_way.put((now() + seconds, chunk))
            if not chunk:
                break
        await delivering
    finally:
        delivering.cancel()


async def _deliver(on_their_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    """Write chunks when they are due, up to the empty one, which ends the stream. Drops them if the peer is gone."""
    now = asyncio.get_running_loop().time
    while True:
        due, chunk = await on_their_way.get()
        await asyncio.sleep(due - now())
        with contextlib.suppress(ConnectionError, OSError):
            if not chunk:
                writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()
        if not chunk:
            return


def main() -> None:
    """Serve on the inherited socket until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the listening socket")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--milliseconds", type=float, required=True, help="in each direction")
    given = parser.parse_args()
    listening = socket.socket(fileno=given.socket)
    asyncio.run(serve(listening, given.host, given.port, given.milliseconds / 1000))


if __name__ == "__main__":
    main()
