"""One hostile user, in a process of its own with the lowest priority: its processor time is not the service's.

Usage: ``python -m tests.load.hostile WAY SECONDS``, with a JSON object of the fields of :class:`Target` on standard
input. Writes the number of responses by
status.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import secrets
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.load.http1 import Address, Connection

CONNECTIONS = 913
"""With the 87 of the others, a thousand."""
PAUSE_SECONDS = 0.05
"""After a connection was refused or closed."""


@dataclass(frozen=True)
class Target:
    """The API and what the hostile user has there."""

    host: str
    port: int
    source: str
    """Loopback address that it connects from, its own."""
    shared_source: str
    """One that other users connect from, too."""
    key: str
    locked_job: str

    @property
    def address(self) -> Address:
        """Its own address."""
        return Address(self.host, self.port, self.source)

    @property
    def shared_address(self) -> Address:
        """An address of many users, such as that of an office."""
        return Address(self.host, self.port, self.shared_source)


Seen = Counter[str]
Way = Callable[[Target, Seen], Awaitable[None]]


async def over_limit(target: Target, seen: Seen) -> None:
    """Repeat requests on all connections as fast as they are answered."""
    await _repeat(target, seen, CONNECTIONS, lambda: ("GET", "/v1/jobs?limit=1", None))


async def large_bodies(target: Target, seen: Seen) -> None:
    """Send bodies that take long to parse or to validate."""
    step = {"id": "a", "action": "resize", "width": 10}
    bodies = [
        json.dumps({f"unknown{n}": n for n in range(95_000)}).encode(),
        json.dumps({f"u{n}": n for n in range(9_000)}).encode(),
        b"[" * 60_000 + b"]" * 60_000,
        json.dumps({"pipeline": [step | {"format": "none"}] * 2_000}).encode(),
        json.dumps({"pipeline": [step | {f"x{n}": n for n in range(300)}] * 20}).encode(),
    ]
    await _repeat(target, seen, 20, lambda: ("POST", "/v1/jobs", random.choice(bodies)))  # noqa: S311


async def silent(target: Target, seen: Seen) -> None:
    """Open as many connections as there are and send nothing on them."""

    async def wait() -> None:
        while True:
            connection = Connection(target.address)
            try:
                writer = await connection.open()
                seen["open"] += 1
                await writer.wait_closed()
            except OSError:
                seen["refused"] += 1
            connection.close()
            await asyncio.sleep(PAUSE_SECONDS)

    await _many(wait, 1010)


async def slow(target: Target, seen: Seen) -> None:
    """Send a byte a second: of a header on one half of the connections, of a body on the other."""
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {target.key}\r\n".encode()
    beginnings = [head + b"X-Slow: ", head + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"]

    async def drip() -> None:
        while True:
            connection = Connection(target.address)
            try:
                writer = await connection.open()
                seen["open"] += 1
                writer.write(random.choice(beginnings))  # noqa: S311
                while True:
                    await asyncio.sleep(1)
                    writer.write(b"1")
                    await writer.drain()
            except OSError:
                seen["closed"] += 1
            connection.close()
            await asyncio.sleep(PAUSE_SECONDS)

    await _many(drip, CONNECTIONS)


async def bad_keys(target: Target, seen: Seen) -> None:
    """Try keys at random, from an address of other users."""

    async def guess() -> None:
        connection = Connection(target.shared_address)
        while True:
            connection.key = f"pf_{secrets.token_hex(8)}_{secrets.token_hex(24)}"
            await _ask(connection, seen, "GET", "/v1/jobs?limit=1", None)

    await _many(guess, 100)


async def locked_job(target: Target, seen: Seen) -> None:
    """Cancel a job whose row is locked, again and again."""
    await _repeat(target, seen, 100, lambda: ("POST", f"/v1/jobs/{target.locked_job}/cancel", None))


async def long_lists(target: Target, seen: Seen) -> None:
    """List a hundred jobs with 32 outputs each, again and again."""
    await _repeat(target, seen, 20, lambda: ("GET", "/v1/jobs?limit=100", None))


async def year_of_usage(target: Target, seen: Seen) -> None:
    """Ask for the usage of a year, again and again."""
    await _repeat(target, seen, 20, lambda: ("GET", "/v1/usage?from=2025-12-01&to=2026-11-28", None))


WAYS: Mapping[str, Way] = {
    way.__name__: way
    for way in (over_limit, large_bodies, silent, slow, bad_keys, locked_job, long_lists, year_of_usage)
}


async def _repeat(
    target: Target, seen: Seen, connections: int, next_request: Callable[[], tuple[str, str, Any]]
) -> None:
    async def work() -> None:
        connection = Connection(target.address, target.key)
        while True:
            await _ask(connection, seen, *next_request())

    await _many(work, connections)


async def _ask(connection: Connection, seen: Seen, method: str, path: str, body: object) -> None:
    answer = await connection.request(method, path, body)
    seen[str(answer.status) if answer.status else "closed"] += 1
    if not answer.status:
        await asyncio.sleep(PAUSE_SECONDS)


async def _many(work: Callable[[], Awaitable[None]], count: int) -> None:
    await asyncio.gather(*(work() for _ in range(count)))


async def main(way: str, seconds: float) -> None:
    """Be hostile in this way for so long, then print what came of it."""
    target, seen = Target(**json.load(sys.stdin)), Seen()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await WAYS[way](target, seen)
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
