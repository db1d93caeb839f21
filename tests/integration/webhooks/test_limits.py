"""Limits per host and per user: events of one do not delay the events of others."""

from __future__ import annotations

import time

import pytest
from tests.integration.webhooks.conftest import Harness, drain, wait_for_requests
from tests.support.webhook_receiver import Reply, receiving

from pixelflow.controlplane.webhooks.store import DUE_WINDOW, DeliveryLimits


async def test_a_host_that_hangs_does_not_delay_others(harness: Harness) -> None:
    with receiving(Reply(hangs=True), address="127.0.0.2") as slow, receiving(address="127.0.0.3") as fast:
        for _ in range(100):
            await harness.finished_job(slow.url)
        for _ in range(5):
            await harness.finished_job(fast.url)
        harness.clock.advance(seconds=5)
        started = time.monotonic()
        async with harness.dispatcher(
            timeout=1.5, limits=DeliveryLimits(per_host=4, per_user=64), max_concurrent=8
        ) as dispatcher:
            while len(fast.received) < 5:
                await dispatcher.run_once()
            took = time.monotonic() - started
            at_slow = len(slow.received)
    assert took < 1.5, "waited for the host that hangs"
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
            timeout=1.5, limits=DeliveryLimits(per_host=4, per_user=64), max_concurrent=8
        ) as dispatcher:
            assert await dispatcher.run_once() == 5
            await wait_for_requests(fast)


async def test_a_user_with_many_hosts_does_not_block_others(harness: Harness, other_user: Harness) -> None:
    with receiving(address="127.0.0.9") as fast:
        for number in range(20):
            await harness.finished_job(f"http://127.0.1.{number}:9999/")
        await other_user.finished_job(fast.url, user_id=other_user.user_id)
        harness.clock.advance(seconds=5)
        async with harness.dispatcher(limits=DeliveryLimits(per_host=4, per_user=6), max_concurrent=8) as dispatcher:
            assert await dispatcher.run_once() == 7
            await drain(dispatcher)
    assert len(fast.received) == 1


async def test_a_user_at_their_limit_does_not_use_up_the_places_of_a_host(
    harness: Harness, other_user: Harness
) -> None:
    with receiving(Reply(hangs=True), address="127.0.0.8") as slow, receiving(address="127.0.0.9") as shared:
        for url in (slow.url, slow.url, *[shared.url] * 5):
            await harness.finished_job(url)
        await other_user.finished_job(shared.url, user_id=other_user.user_id)
        harness.clock.advance(seconds=5)
        async with harness.dispatcher(timeout=3, limits=DeliveryLimits(per_host=3, per_user=2)) as dispatcher:
            await dispatcher.run_once()
            await wait_for_requests(slow, times=2)
            await dispatcher.run_once()
            await wait_for_requests(shared)
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
