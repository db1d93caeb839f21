"""The courier, with real Postgres and real receivers; only the clock is turned by hand."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook
from tests.integration.webhooks.conftest import TRACEPARENT, Office, called, settled
from tests.support.otlp_collector import collecting
from tests.support.webhook_receiver import Received, Reply, receiving

from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.contracts.errors import NotFoundError
from pixelflow.controlplane.webhooks.dispatcher import LEASE


def verified(received: Received, secret: str) -> dict[str, Any]:
    """The body, if its signature is right; the time is the test's own."""
    signed = Webhook(secret).sign(
        received.headers["webhook-id"],
        datetime.fromtimestamp(int(received.headers["webhook-timestamp"]), UTC),
        received.body.decode(),
    )
    assert signed in received.headers["webhook-signature"].split(" ")
    body: dict[str, Any] = json.loads(received.body)
    return body


async def test_a_receiver_gets_the_job_signed_as_the_library_verifies_it(office: Office) -> None:
    with receiving() as receiver:
        office.clock.now = datetime.now(UTC)
        job_id = await office.ended_job(receiver.url + "?tenant=7")
        office.clock.now = datetime.now(UTC)
        async with office.courier() as courier:
            await settled(courier)
        [received] = receiver.received
    [secret] = await office.secrets.valid(office.user_id)
    body = Webhook(secret).verify(received.body, received.headers)
    shown = await office.shown_jobs.get(office.user_id, job_id)
    assert body["data"] == shown.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert body["type"] == "job.canceled"
    assert set(body) == {"type", "timestamp", "data"}
    assert received.headers["webhook-id"].startswith("msg_")
    assert received.headers["content-type"] == "application/json"
    assert received.headers["traceparent"] == TRACEPARENT
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert received.path == "/hook?tenant=7"


async def test_500_then_silence_then_200_are_three_tries_with_one_id(office: Office) -> None:
    with receiving(Reply(500, body=b"broken\x00\x1b[31m"), Reply(hangs=True), Reply(200)) as receiver:
        job_id = await office.ended_job(receiver.url, status="canceled")
        async with office.courier(patience=0.3) as courier:
            for seconds in (0, 5, 30, 3600):
                office.clock.turn(seconds=seconds)
                await settled(courier)
    [secret] = await office.secrets.valid(office.user_id)
    assert len(receiver.received) == 3
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
    assert {verified(received, secret)["data"]["job_id"] for received in receiver.received} == {str(job_id)}
    told = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert [(row.attempt, row.outcome, row.status_code, row.error and row.error.code) for row in told] == [
        (3, "delivered", 200, None),
        (2, "retried", None, "target_timeout"),
        (1, "retried", 500, None),
    ]
    assert told[2].response_excerpt == "broken\ufffd\ufffd[31m"
    assert told[0].next_attempt_at is None
    assert office.tried == ["retried", "retried", "delivered"], "the metrics are told of each"
    assert 250 <= told[1].latency_ms < 3000


async def test_every_try_is_a_span_in_the_trace_of_the_job_and_the_receiver_gets_its_own(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector, receiving(Reply(500), Reply(hangs=True), Reply(200)) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with open_tracer(role="controller") as tracing:
            await office.ended_job(receiver.url + "?token=hush", status="canceled")
            async with office.courier(patience=0.3, tracing=tracing) as courier:
                for seconds in (0, 5, 30):
                    office.clock.turn(seconds=seconds)
                    await settled(courier)
        tries, sent = collector.spans, b"".join(collector.bodies)
    assert {(span.trace_id, span.parent_id) for span in tries} == {tuple(TRACEPARENT.split("-")[1:3])}
    assert [span.attributes.get("error.type") for span in tries] == ["500", "target_timeout", None]
    assert [span.attributes["pixelflow.attempt"] for span in tries] == [1, 2, 3]
    assert [received.headers["traceparent"].split("-")[2] for received in receiver.received] == [
        span.span_id for span in tries
    ]
    assert b"hush" not in sent


async def test_the_schedule_is_the_documented_one_and_ends_exhausted(office: Office) -> None:
    with receiving(Reply(503)) as receiver:
        job_id = await office.ended_job(receiver.url)
        async with office.courier() as courier:
            await settled(courier)
            for seconds in (5, 30, 120, 600, 3600, 21_600, 86_400):
                tries = len(receiver.received)
                office.clock.turn(seconds=seconds - 1)
                await settled(courier)
                assert len(receiver.received) == tries, f"tried again less than {seconds} s later"
                office.clock.turn(seconds=1)
                await settled(courier)
                assert len(receiver.received) == tries + 1, f"not tried again after {seconds} s"
            office.clock.turn(days=30)
            await settled(courier)
    told = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert [row.outcome for row in told] == ["exhausted", *["retried"] * 7]
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1


async def test_a_date_beyond_all_calendars_does_not_stop_the_schedule(office: Office) -> None:
    beyond = "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"
    with receiving(Reply(503, {"Retry-After": beyond}), Reply(200)) as receiver:
        job_id = await office.ended_job(receiver.url)
        async with office.courier() as courier:
            await settled(courier)
            office.clock.turn(seconds=5)
            await settled(courier)
    told = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert [(row.outcome, row.status_code) for row in told] == [("delivered", 200), ("retried", 503)]


async def test_a_receiver_that_says_gone_is_not_called_again(office: Office) -> None:
    with receiving(Reply(410)) as receiver:
        job_id = await office.ended_job(receiver.url)
        async with office.courier() as courier:
            await settled(courier)
            office.clock.turn(days=30)
            await settled(courier)
    [told] = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert (told.outcome, told.status_code, len(receiver.received)) == ("refused", 410, 1)


async def test_a_redirect_is_a_failure_and_nobody_goes_there(office: Office) -> None:
    with receiving() as elsewhere, receiving(Reply(307, {"Location": elsewhere.url})) as receiver:
        job_id = await office.ended_job(receiver.url)
        async with office.courier() as courier:
            await settled(courier)
    [told] = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert (told.outcome, told.status_code, elsewhere.received) == ("retried", 307, [])


async def test_a_huge_answer_is_read_to_its_beginning_only(office: Office) -> None:
    with receiving(Reply(body=b"x" * 50_000_000)) as receiver:
        job_id = await office.ended_job(receiver.url)
        async with office.courier() as courier:
            await settled(courier)
    [told] = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert (told.outcome, told.response_excerpt) == ("delivered", "x" * 1024)


async def test_an_address_that_is_no_longer_allowed_is_refused_at_the_call(office: Office) -> None:
    with receiving() as receiver:
        job_id = await office.ended_job(receiver.url)
        await office.rows("UPDATE events SET url = 'http://169.254.169.254/' WHERE job_id = %s RETURNING 1", job_id)
        async with office.courier() as courier:
            await settled(courier)
    [told] = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert told.error is not None
    assert (told.outcome, told.error.code) == ("refused", "target_refused")


async def test_a_replay_is_sent_at_once_with_the_same_id_and_the_whole_schedule(office: Office) -> None:
    with receiving(Reply(410), Reply(500), Reply(200)) as receiver:
        job_id = await office.ended_job(receiver.url)
        async with office.courier() as courier:
            await settled(courier)
            [first] = (await office.webhooks.deliveries(office.user_id, job_id)).data
            replayed = await office.webhooks.replay(office.user_id, first.delivery_id)
            await settled(courier)
            office.clock.turn(seconds=5)
            await settled(courier)
    told = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert [(row.attempt, row.outcome) for row in told] == [(2, "delivered"), (1, "retried"), (1, "refused")]
    assert {received.headers["webhook-id"] for received in receiver.received} == {replayed.event_id}


async def test_replays_during_a_call_take_no_second_place_and_are_sent_when_it_ends(office: Office) -> None:
    with receiving(Reply(500), Reply(hangs=True), Reply(410), Reply(200)) as receiver:
        job_id = await office.ended_job(receiver.url)
        async with office.courier(patience=1) as courier, office.courier() as other:
            await settled(courier)
            [first] = (await office.webhooks.deliveries(office.user_id, job_id)).data
            office.clock.turn(seconds=5)
            await courier.run_once()
            await called(receiver, times=2)
            for _ in range(5):
                await office.webhooks.replay(office.user_id, first.delivery_id)
                assert await other.run_once() == 0, "one event was called twice at once"
            async with asyncio.timeout(10):
                while len(receiver.received) < 3:
                    await courier.run_once()
    told = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert [(row.attempt, row.outcome) for row in told] == [(1, "refused"), (2, "retried"), (1, "retried")]


async def test_nobody_sees_or_replays_the_deliveries_of_others(office: Office, other_office: Office) -> None:
    with receiving() as receiver:
        job_id = await office.ended_job(receiver.url)
        async with office.courier() as courier:
            await settled(courier)
    [told] = (await office.webhooks.deliveries(office.user_id, job_id)).data
    with pytest.raises(NotFoundError):
        await other_office.webhooks.deliveries(other_office.user_id, job_id)
    with pytest.raises(NotFoundError):
        await other_office.webhooks.replay(other_office.user_id, told.delivery_id)


async def test_an_event_in_the_hands_of_a_courier_that_died_is_delivered_by_another(office: Office) -> None:
    with receiving(Reply(hangs=True), Reply(200)) as receiver:
        job_id = await office.ended_job(receiver.url)
        async with office.courier(patience=30) as dying, office.courier() as other:
            await dying.run_once()
            await called(receiver)
            assert await other.run_once() == 0, "the event is in somebody's hands"
            for task in dying._under_way:
                task.cancel()
            office.clock.turn(seconds=LEASE.total_seconds() - 1)
            assert await other.run_once() == 0, "its lease is not over"
            office.clock.turn(seconds=1)
            await settled(other)
    told = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert [row.outcome for row in told] == ["delivered"]
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1


async def test_a_courier_that_wakes_after_its_lease_changes_nothing_but_keeps_its_try(office: Office) -> None:
    with receiving(Reply(hangs=True), Reply(200)) as receiver:
        job_id = await office.ended_job(receiver.url)
        async with office.courier(patience=1) as slow, office.courier() as other:
            await slow.run_once()
            await called(receiver)
            office.clock.turn(seconds=LEASE.total_seconds())
            await settled(other)
            await slow.finish()
    [event] = await office.rows("SELECT status, tries FROM events WHERE job_id = %s", job_id)
    told = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert event == {"status": "delivered", "tries": 1}
    assert sorted(row.outcome for row in told) == ["delivered", "retried"]


async def test_two_couriers_beside_each_other_deliver_each_event_once(office: Office) -> None:
    with receiving() as receiver:
        for _ in range(40):
            await office.ended_job(receiver.url)
        office.clock.turn(seconds=5)
        async with office.courier() as one, office.courier() as other:
            await asyncio.gather(settled(one), settled(other))
            await asyncio.gather(settled(one), settled(other))
    ids = [received.headers["webhook-id"] for received in receiver.received]
    assert (len(ids), len(set(ids))) == (40, 40)


async def test_the_event_of_an_erased_job_is_not_sent(office: Office) -> None:
    with receiving() as receiver:
        job_id = await office.ended_job(receiver.url)
        await office.rows("UPDATE jobs SET erased_at = now() WHERE job_id = %s RETURNING 1", job_id)
        async with office.courier() as courier:
            await settled(courier)
    assert receiver.received == []
    assert await office.rows("SELECT 1 FROM events WHERE job_id = %s", job_id) == []


async def test_after_a_rotation_both_secrets_verify(office: Office) -> None:
    with receiving() as receiver:
        first = (await office.secrets.rotate(office.user_id)).secret
        rotated = await office.secrets.rotate(office.user_id)
        await office.ended_job(receiver.url)
        async with office.courier() as courier:
            await settled(courier)
    [received] = receiver.received
    assert verified(received, first) == verified(received, rotated.secret)
    assert rotated.previous_valid_until is not None
