"""Webhook endpoints: events of all jobs of a user, each delivered on its own, beside the webhook URLs of jobs."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest
from tests.integration.webhooks.conftest import Harness, drain
from tests.integration.webhooks.test_dispatcher import verified
from tests.support.webhook_receiver import Receiver, Reply, receiving

from pixelflow.adapters.ids import new_id
from pixelflow.contracts.webhook_endpoints import CreateWebhookEndpointRequest, UpdateWebhookEndpointRequest
from pixelflow.controlplane.webhook_endpoints.service import WebhookEndpoints
from pixelflow.errors import NotFoundError, WebhookEndpointDisabledError, WebhookSecretExistsError


@pytest.fixture
def endpoints(harness: Harness) -> WebhookEndpoints:
    return WebhookEndpoints(harness.database, max_endpoints=5)


async def add(endpoints: WebhookEndpoints, harness: Harness, url: str, **fields: object) -> UUID:
    request = CreateWebhookEndpointRequest.model_validate({"url": url, **fields})
    return (await endpoints.create(harness.user_id, request, endpoint_id=new_id())).endpoint_id


async def change(endpoints: WebhookEndpoints, harness: Harness, endpoint_id: UUID, **fields: object) -> None:
    request = UpdateWebhookEndpointRequest.model_validate(fields)
    await endpoints.update(harness.user_id, endpoint_id, request)


async def deliver(harness: Harness, *, after: float = 0) -> None:
    harness.clock.advance(seconds=after)
    async with harness.dispatcher() as dispatcher:
        await drain(dispatcher)


def types_of(receiver: Receiver) -> list[str]:
    return [json.loads(each.body)["type"] for each in receiver.received]


async def test_each_endpoint_gets_the_events_of_its_types_and_the_job_its_own(
    harness: Harness, endpoints: WebhookEndpoints
) -> None:
    with receiving() as own, receiving() as everything, receiving() as failures, receiving() as off:
        of_all = await add(endpoints, harness, everything.url)
        await add(endpoints, harness, failures.url, event_types=["job.failed"])
        await add(endpoints, harness, off.url, enabled=False)
        canceled = await harness.finished_job(own.url)
        failed = await harness.finished_job(own.url, status="failed")
        await deliver(harness)
        ids = [each.headers["webhook-id"] for one in (own, everything, failures) for each in one.received]
        [secret] = await harness.webhooks.signing_secrets(harness.user_id)
        bodies = [verified(each, secret) for each in everything.received]
    assert {body["data"]["job_id"] for body in bodies} == {str(canceled), str(failed)}
    assert sorted(types_of(own)) == sorted(types_of(everything)) == ["job.canceled", "job.failed"]
    assert (types_of(failures), off.received) == (["job.failed"], [])
    assert len(set(ids)) == 5, "each has an ID of its own"
    listed = (await harness.webhooks.list_deliveries(harness.user_id, canceled)).data
    assert {row.endpoint_id for row in listed} == {None, of_all}


async def test_a_job_without_a_webhook_url_has_events_for_endpoints(
    harness: Harness, endpoints: WebhookEndpoints
) -> None:
    with receiving() as receiver:
        await harness.finished_job(None, status="failed")  # before the endpoint exists
        endpoint_id = await add(endpoints, harness, receiver.url)
        await harness.finished_job(None)
        await deliver(harness)
    assert types_of(receiver) == ["job.canceled"]
    [delivery] = (await harness.webhooks.list_endpoint_deliveries(harness.user_id, endpoint_id)).data
    assert (delivery.type, delivery.outcome, delivery.endpoint_id) == ("job.canceled", "delivered", endpoint_id)


async def test_an_endpoint_with_the_webhook_url_of_a_job_gets_one_event(
    harness: Harness, endpoints: WebhookEndpoints
) -> None:
    with receiving() as receiver:
        await add(endpoints, harness, receiver.url)
        await harness.finished_job(receiver.url)
        await deliver(harness)
        assert len(receiver.received) == 1


async def test_the_events_of_other_users_stay_their_own(
    harness: Harness, other_user: Harness, endpoints: WebhookEndpoints
) -> None:
    with receiving() as receiver, receiving() as own:
        endpoint_id = await add(endpoints, harness, receiver.url)
        await other_user.finished_job(own.url, user_id=other_user.user_id)
        await deliver(harness)
        assert (len(receiver.received), len(own.received)) == (0, 1)
    for refused in (
        endpoints.get(other_user.user_id, endpoint_id),
        endpoints.test(other_user.user_id, endpoint_id, resource_id=uuid4()),
        endpoints.delete(other_user.user_id, endpoint_id),
        endpoints.update(other_user.user_id, endpoint_id, UpdateWebhookEndpointRequest(enabled=False)),
        harness.webhooks.list_endpoint_deliveries(other_user.user_id, endpoint_id),
    ):
        with pytest.raises(NotFoundError):
            await refused
    assert (await endpoints.list_all(other_user.user_id)).data == []
    assert (await endpoints.get(harness.user_id, endpoint_id)).enabled


async def test_an_endpoint_that_fails_is_retried_alone(harness: Harness, endpoints: WebhookEndpoints) -> None:
    with receiving() as own, receiving(Reply(500), Reply(200)) as failing:
        endpoint_id = await add(endpoints, harness, failing.url)
        await harness.finished_job(own.url)
        await deliver(harness)
        await deliver(harness, after=6)
        assert (len(own.received), len(failing.received)) == (1, 2)
        assert len({each.headers["webhook-id"] for each in failing.received}) == 1
    listed = (await harness.webhooks.list_endpoint_deliveries(harness.user_id, endpoint_id)).data
    assert [row.outcome for row in listed] == ["delivered", "retried"]


@pytest.mark.parametrize("end", ["disable", "delete"])
async def test_pending_events_of_an_endpoint_that_is_disabled_or_deleted_are_not_sent(
    harness: Harness, endpoints: WebhookEndpoints, end: str
) -> None:
    with receiving() as own, receiving(Reply(500)) as failing:
        endpoint_id = await add(endpoints, harness, failing.url)
        await harness.finished_job(own.url)
        await deliver(harness)
        if end == "disable":
            await change(endpoints, harness, endpoint_id, enabled=False)
        else:
            await endpoints.delete(harness.user_id, endpoint_id)
        await deliver(harness, after=6)
        await deliver(harness, after=60)
        assert len(failing.received) == 1
    [row] = await harness.rows("SELECT status, lease_until FROM events WHERE endpoint_id = %s", endpoint_id)
    assert row == {"status": "refused", "lease_until": None}


async def test_an_endpoint_that_is_enabled_again_gets_new_events(harness: Harness, endpoints: WebhookEndpoints) -> None:
    with receiving() as own, receiving() as receiver:
        endpoint_id = await add(endpoints, harness, receiver.url, enabled=False)
        await harness.finished_job(own.url)
        await change(endpoints, harness, endpoint_id, enabled=True, event_types=["job.canceled"])
        await harness.finished_job(own.url)
        await change(endpoints, harness, endpoint_id, event_types=["job.failed"])
        await harness.finished_job(own.url)
        await change(endpoints, harness, endpoint_id, event_types=None)
        await harness.finished_job(own.url)
        await deliver(harness)
        assert (len(own.received), len(receiver.received)) == (4, 2)


async def test_a_test_event_is_delivered_also_if_the_endpoint_is_disabled(
    harness: Harness, endpoints: WebhookEndpoints
) -> None:
    with receiving(Reply(204, body=b"")) as receiver:
        endpoint_id = await add(endpoints, harness, receiver.url, enabled=False)
        resource_id = new_id()
        sent = await endpoints.test(harness.user_id, endpoint_id, resource_id=resource_id)
        assert await endpoints.test(harness.user_id, endpoint_id, resource_id=resource_id) == sent
        await deliver(harness)
        [received] = receiver.received
    secret = (await harness.webhooks.signing_secrets(harness.user_id))[0]
    body = verified(received, secret)
    assert (received.headers["webhook-id"], body["type"]) == (sent.event_id, "webhook.test")
    assert body["data"] == {"endpoint_id": str(endpoint_id)}
    [delivery] = (await harness.webhooks.list_endpoint_deliveries(harness.user_id, endpoint_id)).data
    assert (delivery.event_id, delivery.type, delivery.outcome) == (sent.event_id, "webhook.test", "delivered")
    assert delivery.status_code == 204
    with pytest.raises(NotFoundError):  # a test is sent again by another test
        await harness.webhooks.replay(harness.user_id, delivery.delivery_id)


async def test_an_event_of_a_disabled_or_deleted_endpoint_is_not_replayed(
    harness: Harness, endpoints: WebhookEndpoints
) -> None:
    with receiving() as receiver:
        endpoint_id = await add(endpoints, harness, receiver.url)
        await harness.finished_job(None)
        await deliver(harness)
        [delivery] = (await harness.webhooks.list_endpoint_deliveries(harness.user_id, endpoint_id)).data
        await change(endpoints, harness, endpoint_id, enabled=False)
        with pytest.raises(WebhookEndpointDisabledError, match="enable it"):
            await harness.webhooks.replay(harness.user_id, delivery.delivery_id)
        await change(endpoints, harness, endpoint_id, enabled=True)
        await harness.webhooks.replay(harness.user_id, delivery.delivery_id)
        await deliver(harness)
        assert len(receiver.received) == 2
        await endpoints.delete(harness.user_id, endpoint_id)
        with pytest.raises(NotFoundError, match="endpoint of this delivery was deleted"):
            await harness.webhooks.replay(harness.user_id, delivery.delivery_id)


async def test_an_erased_job_has_no_events_for_endpoints(harness: Harness, endpoints: WebhookEndpoints) -> None:
    with receiving() as receiver:
        await add(endpoints, harness, receiver.url)
        job_id = await harness.finished_job("http://127.0.0.1:9/hook")
        await harness.jobs.erase(harness.user_id, job_id)
        await deliver(harness)
        assert receiver.received == []


# ── The secret ───────────────────────────────────────────────────────────────────────────────────


async def test_a_secret_on_purpose_is_shown_once(harness: Harness) -> None:
    created = await harness.webhooks.create_secret(harness.user_id)
    assert await harness.webhooks.signing_secrets(harness.user_id) == [created.secret]
    with pytest.raises(WebhookSecretExistsError):
        await harness.webhooks.create_secret(harness.user_id)


async def test_the_secret_that_signed_before_anybody_asked_is_shown_once(harness: Harness) -> None:
    [signed] = await harness.webhooks.signing_secrets(harness.user_id)
    assert (await harness.webhooks.create_secret(harness.user_id)).secret == signed
    with pytest.raises(WebhookSecretExistsError):
        await harness.webhooks.create_secret(harness.user_id)


async def test_a_rotated_secret_was_shown(harness: Harness) -> None:
    await harness.webhooks.rotate_secret(harness.user_id)
    with pytest.raises(WebhookSecretExistsError):
        await harness.webhooks.create_secret(harness.user_id)
