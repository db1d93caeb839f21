"""One suite for both clients: ``call`` runs an operation on the blocking or on the asynchronous one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.unit.client.stand_in import KEY, StandIn, running

from pixelflow.client import AsyncClient, Client
from pixelflow.client.session import Session


@pytest.fixture
def api() -> Iterator[StandIn]:
    with running() as server:
        yield server


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(range(256)) * 3000)
    return path


@dataclass
class Time:
    """A clock that only ``sleep`` advances."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def time() -> Time:
    return Time()


Call = Callable[..., Any]
ITERATORS = ("iter_", "events")
"""Beginnings of the names of methods that iterate."""


@pytest.fixture(params=["Client", "AsyncClient"])
def call(request: pytest.FixtureRequest, api: StandIn, time: Time) -> Iterator[Call]:
    """``call("get_job", job_id)`` on either client, with a fake clock and no jitter."""
    session = Session(api.url, KEY, clock=time, jitter=lambda: 0.0)
    with _blocking(session, time) if request.param == "Client" else _asynchronous(session, time) as called:
        yield called


@contextmanager
def _blocking(session: Session, time: Time) -> Iterator[Call]:
    with Client(session=session, sleep=time.sleep) as client:

        def call(name: str, *args: object, **kwargs: object) -> object:
            result = getattr(client, name)(*args, **kwargs)
            return list(result) if name.startswith(ITERATORS) else result

        yield call


@contextmanager
def _asynchronous(session: Session, time: Time) -> Iterator[Call]:
    with asyncio.Runner() as runner:
        client = AsyncClient(session=session, sleep=time.sleep_async)

        async def run(name: str, *args: object, **kwargs: object) -> object:
            result = getattr(client, name)(*args, **kwargs)
            return [item async for item in result] if name.startswith(ITERATORS) else await result

        yield lambda *args, **kwargs: runner.run(run(*args, **kwargs))
        runner.run(client.aclose())
