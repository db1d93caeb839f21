"""The other users: they create, read and list jobs at a steady pace, and expect quick answers."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.load.http1 import Address, Answer, Connection

CONNECTIONS = 3
"""Per user: 29 users have 87."""
PAUSE_SECONDS = 2.0
"""Of each connection, on average: 1.5 requests a second per user."""
STEP = {"id": "small", "action": "resize", "width": 320, "format": "webp"}
BODY = {"pipeline": [STEP], "source": {"content_length": 100}}
EXPECTED = {"POST": 202, "GET": 200}


@dataclass
class Window:
    """What the other users saw in some seconds."""

    seconds: list[float] = field(default_factory=list)
    unexpected: Counter[str] = field(default_factory=Counter)
    """Responses that should not have been, such as ``GET 503``. Status 0: the connection ended."""

    def add(self, method: str, answer: Answer) -> None:
        """Count a response."""
        self.seconds.append(answer.seconds)
        if answer.status != EXPECTED[method]:
            self.unexpected[f"{method} {answer.status}"] += 1

    @property
    def p50(self) -> float:
        """Median seconds of a response."""
        return statistics.median(self.seconds)

    @property
    def p99(self) -> float:
        """Seconds that 99 % of the responses took at most."""
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[98]


class Others:
    """All other users, as tasks of this process."""

    def __init__(self, users: Sequence[tuple[Address, str]], rng: random.Random) -> None:
        """Take each user's address and key."""
        self._users = users
        self._rng = rng
        self._window = Window()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin their work."""
        for address, key in self._users:
            jobs: list[str] = []
            for _ in range(CONNECTIONS):
                self._tasks.append(asyncio.create_task(self._work(Connection(address, key), jobs)))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End their work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def watch(self, seconds: float) -> Window:
        """Return what they see in the next seconds: the responses to requests that they send in this time."""
        window = self._window = Window()
        await asyncio.sleep(seconds)
        self._window = Window()
        return window

    async def _work(self, connection: Connection, jobs: list[str]) -> None:
        await asyncio.sleep(self._rng.uniform(0, PAUSE_SECONDS))
        while True:
            began, window = time.perf_counter(), self._window
            method, path, body = self._next(jobs)
            answer = await connection.request(method, path, body)
            window.add(method, answer)
            if answer.status == EXPECTED["POST"]:
                jobs.append(json.loads(answer.body)["job_id"])
            pause = self._rng.uniform(0.5, 1.5) * PAUSE_SECONDS - (time.perf_counter() - began)
            await asyncio.sleep(max(0.0, pause))

    def _next(self, jobs: Sequence[str]) -> tuple[str, str, object]:
        choice = self._rng.random()
        if not jobs or choice < 0.2:
            return "POST", "/v1/jobs", BODY
        if choice < 0.4:
            return "GET", "/v1/jobs?limit=20", None
        return "GET", f"/v1/jobs/{self._rng.choice(jobs)}", None
