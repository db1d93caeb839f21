"""Nobody's events hold up the events of others."""

from __future__ import annotations

import time

import pytest
from tests.integration.webhooks.conftest import Office, called, settled
from tests.support.webhook_receiver import Reply, receiving

from pixelflow.controlplane.webhooks.store import PILE, DeliveryLimits


async def test_a_hundred_events_for_a_host_that_hangs_delay_nobody_else(office: Office) -> None:
    with receiving(Reply(hangs=True), address="127.0.0.2") as slow, receiving(address="127.0.0.3") as fast:
        for _ in range(100):
            await office.ended_job(slow.url)
        for _ in range(5):
            await office.ended_job(fast.url)
        office.clock.turn(seconds=5)
        started = time.monotonic()
        async with office.courier(patience=1.5, bounds=DeliveryLimits(per_host=4, per_user=64), in_hand=8) as courier:
            while len(fast.received) < 5:
                await courier.run_once()
            took = time.monotonic() - started
            at_slow = len(slow.received)
    assert took < 1.5, "waited for the host that hangs"
    assert at_slow <= 4


async def test_no_pile_of_due_events_hides_what_is_due_behind_it(office: Office) -> None:
    with receiving(Reply(hangs=True), address="127.0.0.2") as slow, receiving(address="127.0.0.3") as fast:
        piled = await office.ended_job(slow.url)
        await office.ended_job(fast.url)
        await office.rows(
            """INSERT INTO events (event_id, job_id, run, user_id, type, url, next_try_at)
               SELECT 'msg_' || gen_random_uuid(), job_id, n, user_id, type, url, next_try_at - interval '1 h'
               FROM events, generate_series(2, %s) AS n WHERE job_id = %s RETURNING 1""",
            PILE + 1,
            piled,
        )
        office.clock.turn(seconds=5)
        async with office.courier(patience=1.5, bounds=DeliveryLimits(per_host=4, per_user=64), in_hand=8) as courier:
            assert await courier.run_once() == 5
            await called(fast)


async def test_one_user_with_many_slow_hosts_leaves_room_for_others(office: Office, other_office: Office) -> None:
    with receiving(address="127.0.0.9") as fast:
        for number in range(20):
            await office.ended_job(f"http://127.0.1.{number}:9999/")
        await other_office.ended_job(fast.url, user_id=other_office.user_id)
        office.clock.turn(seconds=5)
        async with office.courier(bounds=DeliveryLimits(per_host=4, per_user=6), in_hand=8) as courier:
            assert await courier.run_once() == 7
            await settled(courier)
    assert len(fast.received) == 1


async def test_who_is_at_their_bound_does_not_keep_a_hosts_places_from_others(
    office: Office, other_office: Office
) -> None:
    with receiving(Reply(hangs=True), address="127.0.0.8") as slow, receiving(address="127.0.0.9") as shared:
        for url in (slow.url, slow.url, *[shared.url] * 5):
            await office.ended_job(url)
        await other_office.ended_job(shared.url, user_id=other_office.user_id)
        office.clock.turn(seconds=5)
        async with office.courier(patience=3, bounds=DeliveryLimits(per_host=3, per_user=2)) as courier:
            await courier.run_once()
            await called(slow, times=2)
            await courier.run_once()
            await called(shared)
    assert len(slow.received) == 2, "the user is at the bound all the time"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Client.Example/hook", "client.example"),
        ("HTTPS://client.example:8443/Hook", "client.example"),
        ("hTTp://[2001:DB8::7]:9000/", "[2001:db8::7]"),
        ("https://client.example?a=b", "client.example"),
    ],
)
async def test_a_host_has_its_bound_however_its_url_is_spelt(office: Office, url: str, host: str) -> None:
    job_id = await office.ended_job("https://client.example/")
    await office.rows("UPDATE events SET url = %s WHERE job_id = %s RETURNING 1", url, job_id)
    assert await office.rows("SELECT host FROM events WHERE job_id = %s", job_id) == [{"host": host}]
