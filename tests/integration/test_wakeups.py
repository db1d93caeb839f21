"""Wake-ups on a real Redis: lost, doubled, forged or delayed, they cost a job two seconds at most and fail nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from uuid import UUID

import pytest
import redis
from structlog.testing import capture_logs
from tests.acceptance.running import new_home, paused, process_of
from tests.integration.job_rows import CAPABILITIES, put
from tests.support.waiting import DEADLINE_SECONDS, assert_within, eventually

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import Connection, Database
from pixelflow.adapters.wakeup import KEY, MAX_WAKEUPS, WakeUpSender, WakeUpWaiter
from pixelflow.contracts.messages import ProcessImage
from pixelflow.dataplane.worker import store
from pixelflow.dataplane.worker.claims import ClaimLimits, ClaimLoop, Places, Worker
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.devstack.account import servers_account
from pixelflow.devstack.home import Home
from pixelflow.devstack.ports import ReservedPorts
from pixelflow.devstack.processes import stop_all
from pixelflow.devstack.stack import Stack
from pixelflow.devstack.valkey import Valkey
from pixelflow.errors import QueueUnavailableError
from pixelflow.settings import Settings

GOLDEN = Path(__file__).parents[1] / "golden" / "messages" / "process_image.v1.json"
LATEST_SECONDS = 2.0
PATIENT_SECONDS = 10.0
"""Timeout of a sender that is not to give up on a busy machine."""
GARBAGE = [b"", b"\xff\xfe garbage", b"[" * 10_000, b"x" * 1_000_000, GOLDEN.read_bytes()]


@pytest.fixture
def url(quiet: Settings) -> str:
    return quiet.redis_url.get_secret_value()


@pytest.fixture
def server(url: str) -> Iterator[redis.Redis]:
    """An empty Redis."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        yield client


@contextmanager
def hanging(stack: Stack) -> Iterator[None]:
    """Redis accepts connections and answers nothing."""
    with paused(process_of(stack, "valkey").pid):
        yield


class Loop:
    """A claim loop whose jobs end at once, and the times of their claims."""

    def __init__(self, database: Database, url: str, *, places: int = 2) -> None:
        self.claimed: dict[UUID, float] = {}
        self._database = database
        self.places = Places(places, self._run)
        self.waiter = WakeUpWaiter(url)
        self.claims = ClaimLoop(
            database,
            Worker("test", CAPABILITIES, places),
            lease=timedelta(seconds=30),
            limits=ClaimLimits(self.places.capacity),
            submit=self.places.submit,
            wakeups=self.waiter,
        )

    def _run(self, job: ClaimedJob, _: int) -> None:
        self.claimed[job.job_id] = time.monotonic()
        with self._database.connection() as connection:
            error = {"code": "undecodable", "message": "damaged", "step_id": None}
            store.fail(connection, job.lease, error=error, stages={}, compute_time_ms=1)

    def close(self) -> None:
        self.claims.stop()
        self.places.close()
        assert self.places.join(DEADLINE_SECONDS)
        self.claims._thread.join(DEADLINE_SECONDS)
        self.waiter.__exit__(None, None, None)

    def seconds_until_claimed(self, job_id: UUID) -> float:
        """Wait until the job, which is new, is claimed."""
        began = time.monotonic()
        eventually(lambda: job_id in self.claimed)
        return max(self.claimed[job_id] - began, 0)

    def claims_in_time(self, job_id: UUID) -> None:
        """Fail if the claim of the job, which is new, takes longer than one without a wake-up may take."""
        began = time.monotonic()
        self.seconds_until_claimed(job_id)
        assert_within(LATEST_SECONDS, began)


@pytest.fixture
def loop(database: Database, url: str, server: redis.Redis) -> Iterator[Loop]:
    del server  # it was emptied
    made = Loop(database, url)
    made.places.start(on_free=made.claims.on_free)
    made.claims.start()
    time.sleep(0.2)
    yield made
    made.close()


def message() -> ProcessImage:
    return ProcessImage(job_id=new_id(), requested_at=datetime.now(UTC))


# ── The sender ───────────────────────────────────────────────────────────────────────────────────


async def test_a_sent_wake_up_is_the_golden_message(url: str, server: redis.Redis) -> None:
    async with WakeUpSender(url, timeout=PATIENT_SECONDS) as sender:
        sender.send(ProcessImage.model_validate_json(GOLDEN.read_bytes()))
    assert server.lrange(KEY, 0, -1) == [GOLDEN.read_bytes().strip()]
    assert 0 < int(str(server.ttl(KEY))) <= 60


async def test_wake_ups_of_concurrent_requests_share_a_round_trip(url: str, server: redis.Redis) -> None:
    calls_before = _calls(server, "lpush")
    async with WakeUpSender(url, timeout=PATIENT_SECONDS) as sender:
        for _ in range(50):
            sender.send(message())
    assert server.llen(KEY) == 50
    assert _calls(server, "lpush") == calls_before + 1


def _calls(server: redis.Redis, command: str) -> int:
    return int(server.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def test_the_list_does_not_grow_without_end(url: str, server: redis.Redis) -> None:
    server.lpush(KEY, *["x"] * (MAX_WAKEUPS + 500))
    async with WakeUpSender(url, timeout=PATIENT_SECONDS) as sender:
        sender.send(message())
    assert server.llen(KEY) == MAX_WAKEUPS


async def test_starts_never_wait_while_redis_hangs(url: str, server: redis.Redis, quiet_stack: Stack) -> None:
    del server
    async with WakeUpSender(url, pause=60) as sender:
        sender.send(message())
        with hanging(quiet_stack):
            began = time.monotonic()
            for _ in range(2 * MAX_WAKEUPS):
                sender.send(message())
            assert len(sender._pending) == MAX_WAKEUPS, "memory is bounded"
            await asyncio.sleep(0)
            assert_within(0.5, began)
            with pytest.raises(QueueUnavailableError):
                await sender.ping()
            began = time.monotonic()
    assert_within(0.5, began)  # the process's exit doesn't wait, either


async def test_the_sender_recovers_after_its_pause(url: str, server: redis.Redis, quiet_stack: Stack) -> None:
    with capture_logs() as logs:
        async with WakeUpSender(url, pause=0.2) as sender:
            with hanging(quiet_stack):
                sender.send(message())
                await asyncio.to_thread(eventually, lambda: len(logs) == 1)
            while len(logs) == 1:  # a busy machine may miss the timeout again
                sender.send(message())
                await asyncio.sleep(0.01)
    assert [entry["event"] for entry in logs] == ["wake-ups unavailable", "wake-ups available again"]
    assert server.llen(KEY) >= 1


# ── The loop ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_wake_up_starts_a_job_much_sooner_than_the_next_look(
    loop: Loop, connection: Connection, url: str
) -> None:
    """The wait for which is 0.7 s at least, after the claim of the job before."""
    without: list[float] = []
    woken: list[float] = []
    async with WakeUpSender(url, timeout=PATIENT_SECONDS) as sender:
        await asyncio.to_thread(loop.seconds_until_claimed, put(connection))
        for _ in range(3):
            without.append(await asyncio.to_thread(loop.seconds_until_claimed, put(connection)))
            for _ in range(3):
                job_id = put(connection)
                sender.send(message())
                woken.append(await asyncio.to_thread(loop.seconds_until_claimed, job_id))
    assert median(woken) < median(without) / 2, (woken, without)


def test_a_lost_wake_up_costs_a_second(loop: Loop, connection: Connection) -> None:
    for _ in range(3):
        loop.claims_in_time(put(connection))


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_wakes_a_worker_and_does_nothing_else(
    loop: Loop, connection: Connection, server: redis.Redis, content: bytes
) -> None:
    server.lpush(KEY, *[content] * 20)
    loop.claims_in_time(put(connection))
    eventually(lambda: server.llen(KEY) < 20)


def test_a_key_that_is_no_list_delays_nothing(loop: Loop, connection: Connection, server: redis.Redis) -> None:
    server.set(KEY, "forged")
    for _ in range(3):
        loop.claims_in_time(put(connection))


def test_a_redis_that_is_emptied_or_hangs_delays_a_job_by_two_seconds_at_most(
    loop: Loop, connection: Connection, server: redis.Redis, quiet_stack: Stack
) -> None:
    server.flushall()
    loop.claims_in_time(put(connection))
    with hanging(quiet_stack):
        for _ in range(4):
            loop.claims_in_time(put(connection))
    loop.claims_in_time(put(connection))


def test_a_worker_with_its_own_rights_recovers_its_wake_ups_after_a_restart() -> None:
    """The user of the dev stack's workers may run few commands; the probe must be one of them."""
    with new_home() as path, ReservedPorts(lambda _: None) as ports:
        home = Home(path, servers_account())
        valkey = Valkey(home, ports.choose(home, [Valkey.name])[Valkey.name])
        child = valkey.start()
        eventually(valkey.is_ready)
        try:
            with (
                WakeUpWaiter(valkey.environment_of("worker")["PIXELFLOW_REDIS_URL"], pause=0.05) as waiter,
                redis.Redis.from_url(valkey.environment["PIXELFLOW_REDIS_URL"]) as client,
            ):
                eventually(lambda: not is_down(waiter))
                stop_all([child], time.monotonic() + 10)
                assert is_down(waiter)
                child = valkey.start()
                eventually(valkey.is_ready)
                eventually(lambda: not is_down(waiter))
                client.lpush(KEY, "x")
                eventually(lambda: not is_down(waiter) and client.llen(KEY) == 0)
                waiter.pass_on()
                assert client.llen(KEY) == 1
        finally:
            stop_all([child], time.monotonic() + 10)
            home.close()


def is_down(waiter: WakeUpWaiter) -> bool:
    """Whether a wait fails, as it also does after a pause of the machine."""
    waiter.wait(0.1, threading.Event())
    return waiter._is_down


def test_a_wake_up_that_can_not_be_passed_on_does_not_end_the_wait_of_another_thread(
    url: str, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WakeUpWaiter(url) as waiter:
        server.lpush(KEY, "first")
        waiter.wait(1, threading.Event())
        monkeypatch.setattr(waiter._prober, "lpush", _refused)
        thread = threading.Thread(target=waiter.wait, args=(1, threading.Event()))
        thread.start()
        eventually(lambda: any(each["cmd"] == "brpop" for each in server.client_list()))
        waiter.pass_on()
        assert waiter._is_down
        server.lpush(KEY, "second")
        thread.join(DEADLINE_SECONDS)
        assert not waiter._is_down, "the wait got its reply"
        assert server.llen(KEY) == 0


def _refused(*_: object) -> None:
    raise redis.ConnectionError


def test_all_jobs_are_claimed_once_by_several_workers(
    connection: Connection, database: Database, url: str, server: redis.Redis
) -> None:
    jobs = {put(connection) for _ in range(200)}
    server.lpush(KEY, *["x"] * 200)
    loops = [Loop(database, url, places=3) for _ in range(3)]
    for each in loops:
        each.places.start(on_free=each.claims.on_free)
        each.claims.start()
    eventually(lambda: sum(len(each.claimed) for each in loops) == len(jobs), 60)
    for each in loops:
        each.close()
    attempts = connection.execute("SELECT max(attempts) AS most, count(*) AS jobs FROM jobs").fetchone()
    assert attempts == {"most": 1, "jobs": 200}


def test_a_stopped_loop_claims_nothing(loop: Loop, connection: Connection) -> None:
    loop.claims.stop()
    job_id = put(connection)
    time.sleep(1.2)
    assert job_id not in loop.claimed
    loop.claims.unregister()
    assert connection.execute("SELECT FROM workers WHERE seen_at > now() - interval '15 s'").fetchall() == []


def test_a_worker_that_may_not_claim_shows_why(connection: Connection, database: Database, url: str) -> None:
    with WakeUpWaiter(url) as waiter:
        claims = ClaimLoop(
            database,
            Worker("sick", CAPABILITIES, 2),
            lease=timedelta(seconds=30),
            limits=ClaimLimits(lambda: 2, may_claim=lambda: False, degraded=lambda: "disk full"),
            submit=lambda *_: pytest.fail("claimed"),
            wakeups=waiter,
        )
        put(connection)
        claims.look_around()
        assert claims.run_once() == 0
        assert connection.execute("SELECT worker_id, degraded FROM workers").fetchall() == [
            {"worker_id": "sick", "degraded": "disk full"}
        ]


@pytest.mark.parametrize(("room", "expected"), [(0, ["plain"]), (1, ["either"]), (8, ["url", "plain"])])
def test_a_worker_claims_no_more_jobs_of_a_capability_than_it_has_room_for(
    connection: Connection, database: Database, url: str, room: int, expected: list[str]
) -> None:
    job_ids = {
        put(connection, requires=["contract/1", "url_sources"], user_id="a"): "url",
        put(connection, requires=["contract/1"], user_id="b"): "plain",
    }
    claimed: list[str] = []
    with WakeUpWaiter(url) as waiter:
        claims = ClaimLoop(
            database,
            Worker("test", [*CAPABILITIES, "url_sources"], 2),
            lease=timedelta(seconds=30),
            limits=ClaimLimits(lambda: 8, room_of={"url_sources": lambda: room}),
            submit=lambda job, _: claimed.append(job_ids[job.job_id]),
            wakeups=waiter,
        )
        assert claims.run_once() == len(expected)
    assert sorted(claimed) == sorted(expected) or (expected == ["either"] and len(claimed) == 1)


def test_a_waiter_is_stopped_at_once_while_redis_is_away() -> None:
    with WakeUpWaiter("redis://127.0.0.1:1/0", pause=60) as waiter:
        stop = threading.Event()
        waiter.wait(0.1, stop)
        stop.set()
        began = time.monotonic()
        waiter.wait(60, stop)
        assert_within(1, began)


def test_a_waiter_that_is_closed_while_it_waits_logs_nothing(url: str, server: redis.Redis) -> None:
    del server
    with capture_logs() as logs:
        with WakeUpWaiter(url) as waiter:
            thread = threading.Thread(target=waiter.wait, args=(1, threading.Event()))
            thread.start()
            time.sleep(0.1)
        thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert logs == []


def test_a_worker_without_free_places_passes_a_wake_up_on_once(url: str, server: redis.Redis) -> None:
    with WakeUpWaiter(url) as waiter:
        waiter.pass_on()
        assert server.llen(KEY) == 0, "it took none"
        server.lpush(KEY, *"abc")
        waiter.wait(1, threading.Event())
        assert server.llen(KEY) == 0
        waiter.pass_on()
        waiter.pass_on()
        assert server.llen(KEY) == 1
