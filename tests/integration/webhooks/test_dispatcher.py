"""The dispatcher with real Postgres and real receivers, and a manual clock."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook
from tests.integration.webhooks.conftest import TRACEPARENT, Harness, drain, wait_for_requests
from tests.support.otlp_collector import collecting
from tests.support.waiting import DEADLINE_SECONDS
from tests.support.webhook_receiver import Received, Reply, receiving

from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.controlplane.webhooks.dispatcher import LEASE
from pixelflow.errors import NotFoundError


def verified(received: Received, secret: str) -> dict[str, Any]:
    """Verify the signature, with the manual clock, and return the body."""
    signed = Webhook(secret).sign(
        received.headers["webhook-id"],
        datetime.fromtimestamp(int(received.headers["webhook-timestamp"]), UTC),
        received.body.decode(),
    )
    assert signed in received.headers["webhook-signature"].split(" ")
    body: dict[str, Any] = json.loads(received.body)
    return body


async def test_a_webhook_has_the_job_and_a_signature_that_the_library_verifies(harness: Harness) -> None:
    with receiving() as receiver:
        harness.clock.now = datetime.now(UTC)
        job_id = await harness.finished_job(receiver.url + "?tenant=7")
        harness.clock.now = datetime.now(UTC)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
        [received] = receiver.received
    [secret] = await harness.webhooks.signing_secrets(harness.user_id)
    body = Webhook(secret).verify(received.body, received.headers)
    shown = await harness.job_queries.get(harness.user_id, job_id)
    assert body["data"] == shown.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert body["type"] == "job.canceled"
    assert set(body) == {"type", "timestamp", "data"}
    assert received.headers["webhook-id"].startswith("msg_")
    assert received.headers["content-type"] == "application/json"
    assert received.headers["traceparent"] == TRACEPARENT
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert received.path == "/hook?tenant=7"


async def test_500_then_a_timeout_then_200_are_three_attempts_with_one_id(harness: Harness) -> None:
    with receiving(Reply(500, body=b"broken\x00\x1b[31m"), Reply(hangs=True), Reply(200)) as receiver:
        job_id = await harness.finished_job(receiver.url, status="canceled")
        for seconds, timeout in ((0, 60), (5, 0.3), (30, 60), (3600, 60)):
            harness.clock.advance(seconds=seconds)
            async with harness.dispatcher(timeout=timeout) as dispatcher:
                await drain(dispatcher)
    [secret] = await harness.webhooks.signing_secrets(harness.user_id)
    assert len(receiver.received) == 3
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
    assert {verified(received, secret)["data"]["job_id"] for received in receiver.received} == {str(job_id)}
    deliveries = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert [(row.attempt, row.outcome, row.status_code, row.error and row.error.code) for row in deliveries] == [
        (3, "delivered", 200, None),
        (2, "retried", None, "target_timeout"),
        (1, "retried", 500, None),
    ]
    assert deliveries[2].response_excerpt == "broken\ufffd\ufffd[31m"
    assert deliveries[0].next_attempt_at is None
    assert harness.outcomes == ["retried", "retried", "delivered"]
    assert 250 <= deliveries[1].latency_ms < 30_000


async def test_every_attempt_is_a_span_in_the_trace_of_the_job_and_sends_its_traceparent(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector, receiving(Reply(500), Reply(hangs=True), Reply(200)) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with open_tracer(role="controller") as tracer:
            await harness.finished_job(receiver.url + "?token=hush", status="canceled")
            for seconds, timeout in ((0, 60), (5, 0.3), (30, 60)):
                harness.clock.advance(seconds=seconds)
                async with harness.dispatcher(timeout=timeout, tracer=tracer) as dispatcher:
                    await drain(dispatcher)
        spans, sent = collector.spans, b"".join(collector.bodies)
    assert {(span.trace_id, span.parent_id) for span in spans} == {tuple(TRACEPARENT.split("-")[1:3])}
    assert [span.attributes.get("error.type") for span in spans] == ["500", "target_timeout", None]
    assert [span.attributes["pixelflow.attempt"] for span in spans] == [1, 2, 3]
    assert [received.headers["traceparent"].split("-")[2] for received in receiver.received] == [
        span.span_id for span in spans
    ]
    assert b"hush" not in sent


async def test_the_retry_schedule_is_the_documented_one_and_ends_exhausted(harness: Harness) -> None:
    with receiving(Reply(503)) as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
            for seconds in (5, 30, 120, 600, 3600, 21_600, 86_400):
                attempts = len(receiver.received)
                harness.clock.advance(seconds=seconds - 1)
                await drain(dispatcher)
                assert len(receiver.received) == attempts, f"retried less than {seconds} s later"
                harness.clock.advance(seconds=1)
                await drain(dispatcher)
                assert len(receiver.received) == attempts + 1, f"not retried after {seconds} s"
            harness.clock.advance(days=30)
            await drain(dispatcher)
    deliveries = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert [row.outcome for row in deliveries] == ["exhausted", *["retried"] * 7]
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1


async def test_a_retry_after_out_of_range_does_not_stop_the_schedule(harness: Harness) -> None:
    beyond = "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"
    with receiving(Reply(503, {"Retry-After": beyond}), Reply(200)) as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
            harness.clock.advance(seconds=5)
            await drain(dispatcher)
    deliveries = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert [(row.outcome, row.status_code) for row in deliveries] == [("delivered", 200), ("retried", 503)]


async def test_an_event_answered_with_410_is_not_retried(harness: Harness) -> None:
    with receiving(Reply(410)) as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
            harness.clock.advance(days=30)
            await drain(dispatcher)
    [delivery] = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert (delivery.outcome, delivery.status_code, len(receiver.received)) == ("refused", 410, 1)


async def test_a_redirect_is_a_failure_and_is_not_followed(harness: Harness) -> None:
    with receiving() as elsewhere, receiving(Reply(307, {"Location": elsewhere.url})) as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
    [delivery] = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert (delivery.outcome, delivery.status_code, elsewhere.received) == ("retried", 307, [])


async def test_only_the_beginning_of_a_huge_response_is_read(harness: Harness) -> None:
    with receiving(Reply(body=b"x" * 50_000_000)) as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
    [delivery] = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert (delivery.outcome, delivery.response_excerpt) == ("delivered", "x" * 1024)


async def test_the_address_is_checked_again_at_the_attempt(harness: Harness) -> None:
    with receiving() as receiver:
        job_id = await harness.finished_job(receiver.url)
        await harness.rows("UPDATE events SET url = 'http://169.254.169.254/' WHERE job_id = %s RETURNING 1", job_id)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
    [delivery] = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert delivery.error is not None
    assert (delivery.outcome, delivery.error.code) == ("refused", "target_refused")


async def test_a_replay_is_sent_immediately_with_the_same_id_and_a_new_schedule(harness: Harness) -> None:
    with receiving(Reply(410), Reply(500), Reply(200)) as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
            [first] = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
            replayed = await harness.webhooks.replay(harness.user_id, first.delivery_id)
            await drain(dispatcher)
            harness.clock.advance(seconds=5)
            await drain(dispatcher)
    deliveries = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert [(row.attempt, row.outcome) for row in deliveries] == [(2, "delivered"), (1, "retried"), (1, "refused")]
    assert {received.headers["webhook-id"] for received in receiver.received} == {replayed.event_id}


async def test_replays_during_an_attempt_are_sent_once_when_it_ends(harness: Harness) -> None:
    with receiving(Reply(500), Reply(hangs=True), Reply(410), Reply(200)) as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with harness.dispatcher() as dispatcher, harness.dispatcher() as other:
            await drain(dispatcher)
            [first] = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
            harness.clock.advance(seconds=5)
            await dispatcher.run_once()
            await wait_for_requests(receiver, times=2)
            for _ in range(5):
                await harness.webhooks.replay(harness.user_id, first.delivery_id)
                assert await other.run_once() == 0, "two attempts of one event at once"
            receiver.release()
            async with asyncio.timeout(DEADLINE_SECONDS):
                while len(receiver.received) < 3:
                    await dispatcher.run_once()
    deliveries = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert [(row.attempt, row.outcome) for row in deliveries] == [(1, "refused"), (2, "retried"), (1, "retried")]


async def test_a_user_can_not_list_or_replay_the_deliveries_of_others(harness: Harness, other_user: Harness) -> None:
    with receiving() as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
    [delivery] = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    with pytest.raises(NotFoundError):
        await other_user.webhooks.list_deliveries(other_user.user_id, job_id)
    with pytest.raises(NotFoundError):
        await other_user.webhooks.replay(other_user.user_id, delivery.delivery_id)


async def test_the_event_of_a_dispatcher_that_died_is_delivered_by_another(harness: Harness) -> None:
    with receiving(Reply(hangs=True), Reply(200)) as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with harness.dispatcher(timeout=30) as dying, harness.dispatcher() as other:
            await dying.run_once()
            await wait_for_requests(receiver)
            assert await other.run_once() == 0, "the event is leased"
            for task in dying._running:
                task.cancel()
            harness.clock.advance(seconds=LEASE.total_seconds() - 1)
            assert await other.run_once() == 0, "the lease has not expired"
            harness.clock.advance(seconds=1)
            await drain(other)
    deliveries = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert [row.outcome for row in deliveries] == ["delivered"]
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1


async def test_an_attempt_that_outlives_its_lease_is_recorded_but_does_not_count(harness: Harness) -> None:
    with receiving(Reply(hangs=True), Reply(200)) as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with harness.dispatcher() as slow, harness.dispatcher() as other:
            await slow.run_once()
            await wait_for_requests(receiver)
            harness.clock.advance(seconds=LEASE.total_seconds())
            await drain(other)
            receiver.release()
            await slow.finish()
    [event] = await harness.rows("SELECT status, attempts FROM events WHERE job_id = %s", job_id)
    deliveries = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert event == {"status": "delivered", "attempts": 1}
    assert sorted(row.outcome for row in deliveries) == ["delivered", "retried"]


async def test_two_dispatchers_deliver_each_event_once(harness: Harness) -> None:
    with receiving() as receiver:
        for _ in range(40):
            await harness.finished_job(receiver.url)
        harness.clock.advance(seconds=5)
        async with harness.dispatcher() as one, harness.dispatcher() as other:
            await asyncio.gather(drain(one), drain(other))
            await asyncio.gather(drain(one), drain(other))
    ids = [received.headers["webhook-id"] for received in receiver.received]
    assert (len(ids), len(set(ids))) == (40, 40)


async def test_the_event_of_an_erased_job_is_not_sent(harness: Harness) -> None:
    with receiving() as receiver:
        job_id = await harness.finished_job(receiver.url)
        await harness.rows("UPDATE jobs SET erased_at = now() WHERE job_id = %s RETURNING 1", job_id)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
    assert receiver.received == []
    assert await harness.rows("SELECT 1 FROM events WHERE job_id = %s", job_id) == []


async def test_after_a_rotation_both_secrets_verify(harness: Harness) -> None:
    with receiving() as receiver:
        first = (await harness.webhooks.rotate_secret(harness.user_id)).secret
        rotated = await harness.webhooks.rotate_secret(harness.user_id)
        await harness.finished_job(receiver.url)
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
    [received] = receiver.received
    assert verified(received, first) == verified(received, rotated.secret)
    assert rotated.previous_valid_until is not None
