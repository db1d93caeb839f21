"""Limits per host, per user and per user at a host: events of one do not delay the events of others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from tests.integration.webhooks.conftest import Harness, drain, wait_for_requests
from tests.support.waiting import DEADLINE_SECONDS
from tests.support.webhook_receiver import Reply, receiving

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase
from pixelflow.controlplane.webhooks import due_events
from pixelflow.controlplane.webhooks.dispatcher import LEASE, LIMITS, MAX_CONCURRENT
from pixelflow.controlplane.webhooks.due_events import (
    DUE_WINDOW,
    VISITED_HOSTS,
    DeliveryLimits,
    Lane,
    LeasedEvent,
    Rotation,
)


async def test_a_host_that_hangs_does_not_delay_others(harness: Harness) -> None:
    with receiving(Reply(hangs=True), address="127.0.0.2") as slow, receiving(address="127.0.0.3") as fast:
        for _ in range(100):
            await harness.finished_job(slow.url)
        for _ in range(5):
            await harness.finished_job(fast.url)
        harness.clock.advance(seconds=5)
        async with harness.dispatcher(
            timeout=2 * DEADLINE_SECONDS,
            limits=DeliveryLimits(per_host=4, per_user=64, per_lane=4),
            max_concurrent=8,
        ) as dispatcher:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while len(fast.received) < 5:
                    await dispatcher.run_once()
            at_slow = len(slow.received)
            slow.release()
    assert at_slow <= 4


async def test_a_backlog_of_one_host_does_not_hide_events_that_are_due_later(harness: Harness) -> None:
    with receiving(Reply(hangs=True), address="127.0.0.2") as slow, receiving(address="127.0.0.3") as fast:
        backlogged = await harness.finished_job(slow.url)
        await harness.finished_job(fast.url)
        await harness.rows(
            """INSERT INTO events (event_id, job_id, run, user_id, type, url, next_attempt_at)
               SELECT 'msg_' || gen_random_uuid(), job_id, n, user_id, type, url, next_attempt_at - interval '1 h'
               FROM events, generate_series(2, %s) AS n WHERE job_id = %s RETURNING 1""",
            DUE_WINDOW + 1,
            backlogged,
        )
        harness.clock.advance(seconds=5)
        async with harness.dispatcher(
            limits=DeliveryLimits(per_host=4, per_user=64, per_lane=4), max_concurrent=8
        ) as dispatcher:
            assert await dispatcher.run_once() == 5
            await wait_for_requests(fast)
            slow.release()


async def test_a_user_with_many_hosts_does_not_block_others(harness: Harness, other_user: Harness) -> None:
    with receiving(address="127.0.0.9") as fast:
        for number in range(20):
            await harness.finished_job(f"http://127.0.1.{number}:9999/")
        await other_user.finished_job(fast.url, user_id=other_user.user_id)
        harness.clock.advance(seconds=5)
        async with harness.dispatcher(
            limits=DeliveryLimits(per_host=4, per_user=6, per_lane=4), max_concurrent=8
        ) as dispatcher:
            assert await dispatcher.run_once() == 7
            await drain(dispatcher)
    assert len(fast.received) == 1


async def test_a_user_at_their_limit_does_not_use_up_the_places_of_a_host(
    harness: Harness, other_user: Harness
) -> None:
    with receiving(Reply(hangs=True), address="127.0.0.8") as slow, receiving(address="127.0.0.9") as shared:
        for _ in range(2):
            await harness.finished_job(slow.url)
        harness.clock.advance(seconds=5)
        async with harness.dispatcher(limits=DeliveryLimits(per_host=3, per_user=2, per_lane=2)) as dispatcher:
            await dispatcher.run_once()
            await wait_for_requests(slow, times=2)
            for _ in range(5):
                await harness.finished_job(shared.url)
            await other_user.finished_job(shared.url, user_id=other_user.user_id)
            harness.clock.advance(seconds=5)
            await dispatcher.run_once()
            await wait_for_requests(shared)
            slow.release()
    assert len(slow.received) == 2, "the user stays at the limit"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Client.Example/hook", "client.example"),
        ("HTTPS://client.example:8443/Hook", "client.example"),
        ("hTTp://[2001:DB8::7]:9000/", "[2001:db8::7]"),
        ("https://client.example?a=b", "client.example"),
    ],
)
async def test_the_host_of_an_event_is_normalized(harness: Harness, url: str, host: str) -> None:
    job_id = await harness.finished_job("https://client.example/")
    await harness.rows("UPDATE events SET url = %s WHERE job_id = %s RETURNING 1", url, job_id)
    assert await harness.rows("SELECT host FROM events WHERE job_id = %s", job_id) == [{"host": host}]


# ── A backlog ────────────────────────────────────────────────────────────────────────────────────

HOSTILE = "hostile"
BACKLOG = 5000
ONE_USER_ONE_HOST = ("'hostile'", "'dead.example'")
ONE_USER_MANY_HOSTS = ("'hostile'", "'h' || n || '.example'")
MANY_USERS_ONE_HOST = ("'user' || n", "'shared.example'")
MANY_USERS_MANY_HOSTS = ("'user' || n %% 2000", "'h' || n || '.example'")


async def add_due(harness: Harness, user: str, host: str, *, count: int, due_ago: str = "1 h") -> None:
    """Add due events; ``user`` and ``host`` are SQL expressions of ``n``."""
    await harness.rows(
        f"""
        WITH job AS (
            INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, max_attempts, finished_at,
                              webhook_url)
            SELECT gen_random_uuid(), {user}, 'succeeded', 's3_presigned', 'k', '[]', 1, now(),
                   'https://' || {host} || '/hook'
            FROM generate_series(1, %s) AS n
            RETURNING job_id, user_id, webhook_url
        )
        INSERT INTO events (event_id, job_id, run, user_id, type, url, next_attempt_at)
        SELECT 'msg_' || gen_random_uuid(), job_id, 1, user_id, 'job.completed', webhook_url, now() - %s::interval
        FROM job RETURNING 1
        """,  # noqa: S608 - constants of this module
        count,
        due_ago,
    )


async def choose(
    database: AsyncDatabase, harness: Harness, rotation: Rotation, *, limits: DeliveryLimits = LIMITS, limit: int = 64
) -> list[LeasedEvent]:
    """Choose as a dispatcher does, without delivering."""
    async with database.connection() as connection:
        lanes, are_more_due = await due_events.longest_due(connection, now=harness.clock())
        if are_more_due:
            lanes = list({*lanes, *await due_events.visit(connection, rotation)})
        async with connection.transaction():
            return await due_events.lease_due(
                connection, lanes, now=harness.clock(), lease=LEASE, limits=limits, limit=limit
            )


async def choose_four_times(harness: Harness, limits: DeliveryLimits = LIMITS) -> list[list[LeasedEvent]]:
    """Let four dispatchers choose at once."""
    return list(await asyncio.gather(*(choose(harness.database, harness, Rotation(), limits=limits) for _ in range(4))))


def users_of(events: Sequence[LeasedEvent]) -> Counter[str]:
    return Counter(event.user_id for event in events)


async def pages_read(connection: AsyncConnection) -> int:
    """Pages of 8 KiB that the connection has read so far."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    cursor = await connection.execute(
        "SELECT sum(hits + reads)::bigint AS pages FROM pg_stat_get_backend_io(pg_backend_pid())"
    )
    row = await cursor.fetchone()
    assert row
    return int(row["pages"])


async def test_only_chosen_events_are_locked(harness: Harness) -> None:
    await add_due(harness, *MANY_USERS_MANY_HOSTS, count=BACKLOG)
    now = harness.clock()
    async with harness.database.connection() as connection:
        lanes, _ = await due_events.longest_due(connection, now=now)
        async with connection.transaction():
            events = await due_events.lease_due(connection, lanes, now=now, lease=LEASE, limits=LIMITS, limit=64)
            free = await harness.rows("SELECT event_id FROM events FOR UPDATE SKIP LOCKED")
    assert len(events) == 64
    assert len(free) == BACKLOG - 64


@pytest.mark.parametrize(
    "backlog", [ONE_USER_ONE_HOST, ONE_USER_MANY_HOSTS, MANY_USERS_ONE_HOST, MANY_USERS_MANY_HOSTS]
)
async def test_choosing_from_a_backlog_reads_few_pages(harness: Harness, backlog: tuple[str, str]) -> None:
    """A plan that scans the events for each user and host reads a hundred times as many."""
    await add_due(harness, *backlog, count=BACKLOG)
    async with harness.database.connection() as connection:
        await connection.execute("ANALYZE events, jobs")
        before = await pages_read(connection)
        lanes, are_more_due = await due_events.longest_due(connection, now=harness.clock())
        assert are_more_due
        lanes += await due_events.visit(connection, Rotation())
        async with connection.transaction():
            await due_events.lease_due(connection, lanes, now=harness.clock(), lease=LEASE, limits=LIMITS, limit=64)
        assert await pages_read(connection) - before < 15_000


async def test_dispatchers_share_a_backlog(harness: Harness) -> None:
    await add_due(harness, *MANY_USERS_MANY_HOSTS, count=BACKLOG)
    chosen = await choose_four_times(harness)
    assert [len(events) for events in chosen] == [64, 64, 64, 64]
    assert len({event.event_id for events in chosen for event in events}) == 256


@pytest.mark.parametrize(
    ("backlog", "total"), [(ONE_USER_ONE_HOST, 8), (ONE_USER_MANY_HOSTS, 48), (MANY_USERS_ONE_HOST, 16)]
)
async def test_dispatchers_keep_the_limits_together(harness: Harness, backlog: tuple[str, str], total: int) -> None:
    await add_due(harness, *backlog, count=1000)
    assert sum(map(len, await choose_four_times(harness))) == total


async def test_a_dispatcher_waits_for_the_choice_of_another(harness: Harness) -> None:
    """Otherwise dispatchers that visit different hosts of a user would exceed the limit of the user together."""
    await add_due(harness, "'hostile'", "'h' || n %% 20 || '.example'", count=400)
    one, other = ([Lane(HOSTILE, f"h{n}.example") for n in range(first, first + 10)] for first in (0, 10))
    async with harness.database.connection() as connection, connection.transaction():
        leased = await lease(connection, harness, one)
        second = asyncio.create_task(choose_from(harness, other))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (second.done() or await harness.rows(waiting)):  # noqa: ASYNC110  # polls the server
                await asyncio.sleep(0.01)
    assert (len(leased), await second) == (LIMITS.per_user, [])


async def lease(connection: AsyncConnection, harness: Harness, lanes: Sequence[Lane]) -> list[LeasedEvent]:
    return await due_events.lease_due(
        connection, lanes, now=harness.clock(), lease=LEASE, limits=LIMITS, limit=MAX_CONCURRENT
    )


async def choose_from(harness: Harness, lanes: Sequence[Lane]) -> list[LeasedEvent]:
    async with harness.database.connection() as connection, connection.transaction():
        return await lease(connection, harness, lanes)


async def test_one_user_never_takes_every_place_of_a_shared_host(harness: Harness) -> None:
    await add_due(harness, "'hostile'", "'shared.example'", count=BACKLOG, due_ago="2 h")
    await add_due(harness, "'victim' || n", "'shared.example'", count=20, due_ago="1 min")
    chosen = users_of(await choose(harness.database, harness, Rotation()))
    assert chosen == {HOSTILE: 1} | {user: 1 for user in chosen if user != HOSTILE}
    assert len(chosen) == LIMITS.per_host, "each user has one place before any has two"
    await harness.rows(
        "UPDATE events SET lease_until = NULL, status = 'delivered' WHERE user_id <> %s RETURNING 1", HOSTILE
    )
    assert users_of(await choose(harness.database, harness, Rotation())) == {HOSTILE: LIMITS.per_lane - 1}
    await add_due(harness, "'late'", "'shared.example'", count=1, due_ago="1 s")
    assert users_of(await choose(harness.database, harness, Rotation())) == {"late": 1}


async def test_a_dispatcher_is_shared_among_users(harness: Harness) -> None:
    await add_due(harness, *ONE_USER_MANY_HOSTS, count=BACKLOG, due_ago="2 h")
    await add_due(harness, "'victim' || n", "'v' || n || '.example'", count=40, due_ago="1 min")
    chosen = users_of(await choose(harness.database, harness, Rotation()))
    assert len(chosen) == 41
    assert chosen[HOSTILE] == 64 - 40


async def test_a_rotation_visits_every_host_of_a_user_with_many(harness: Harness) -> None:
    hosts = 3 * VISITED_HOSTS + 1
    await add_due(harness, "'busy'", f"'h' || n %% {hosts} || '.example'", count=4 * hosts)
    await add_due(harness, "'other'", "'o.example'", count=2)
    rotation = Rotation()
    async with harness.database.connection() as connection:
        visits = [await due_events.visit(connection, rotation) for _ in range(5)]
    assert len({lane.host for lanes in visits[:4] for lane in lanes if lane.user_id == "busy"}) == hosts
    assert all(lanes[-1].user_id == "other" for lanes in visits)
    assert visits[4][0].host == visits[0][0].host, "it starts over after the last host"


async def test_a_rotation_visits_every_user(harness: Harness) -> None:
    await add_due(harness, "'user' || n", "'h.example'", count=300)
    rotation = Rotation()
    async with harness.database.connection() as connection:
        visited = [{lane.user_id for lane in await due_events.visit(connection, rotation)} for _ in range(4)]
    assert [len(users) for users in visited] == [128, 128, 44, 128]
    assert len(visited[0] | visited[1] | visited[2]) == 300
