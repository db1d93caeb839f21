"""Announcements of changes on a real Redis: they arrive promptly, and whatever Redis does fails nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis
from structlog.testing import capture_logs
from tests.acceptance.running import paused, process_of
from tests.support.waiting import DEADLINE_SECONDS, eventually

from pixelflow.adapters import changes
from pixelflow.adapters.changes import CHANNEL, ChangeAnnouncer, ChangeListener, parse
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings


@pytest.fixture
def url(quiet: Settings) -> str:
    return quiet.redis_url.get_secret_value()


@pytest.fixture
async def heard(url: str) -> AsyncIterator[asyncio.Queue[str]]:
    """The users that a listener hears of."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    def on_users(users: list[str]) -> None:
        for user in users:
            queue.put_nowait(user)

    task = asyncio.create_task(ChangeListener(url, pause=0.05).listen(on_users))
    await asyncio.to_thread(_await_subscriber, url)
    yield queue
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _await_subscriber(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        eventually(lambda: client.pubsub_numsub(CHANNEL)[0][1])


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause of the machine ends no call to Redis."""
    monkeypatch.setattr(changes, "_TIMEOUT_SECONDS", DEADLINE_SECONDS)
    monkeypatch.setattr(changes, "_CLOSE_SECONDS", DEADLINE_SECONDS)


@pytest.mark.usefixtures("patient")
async def test_an_announcement_is_heard(url: str, heard: asyncio.Queue[str]) -> None:
    with ChangeAnnouncer(url) as announcer:
        announcer.announce("acme")
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await heard.get() == "acme"


@pytest.mark.usefixtures("patient")
async def test_the_last_announcements_are_sent_at_the_end(url: str, heard: asyncio.Queue[str]) -> None:
    with ChangeAnnouncer(url) as announcer:
        for number in range(100):
            announcer.announce(f"user-{number}")
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert {await heard.get() for _ in range(100)} == {f"user-{number}" for number in range(100)}


async def test_announcements_while_redis_hangs_never_wait_and_work_again_afterwards(
    url: str, heard: asyncio.Queue[str], quiet_stack: Stack
) -> None:
    with capture_logs() as logs, ChangeAnnouncer(url, pause=0.05) as announcer:
        with paused(process_of(quiet_stack, "valkey").pid):
            for number in range(10_000):
                announcer.announce(f"user-{number}")
            await asyncio.to_thread(eventually, lambda: logs)
        assert [entry["event"] for entry in logs] == ["announcements of changes unavailable"]

        def is_heard() -> bool:
            announcer.announce("acme")
            return not heard.empty() and heard.get_nowait() == "acme"

        await asyncio.to_thread(eventually, is_heard)


@pytest.mark.parametrize(
    "message", [b"", b"\xff", b"[" * 10_000, b"x" * 2_000_000, b"{}", b"7", b"[1, null]", b'"acme"']
)
def test_forged_announcements_name_nobody(message: bytes) -> None:
    assert parse(message) == []
