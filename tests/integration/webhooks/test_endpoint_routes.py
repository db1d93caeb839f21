"""Webhook endpoints, the secret and keys by HTTP and by both clients of the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.integration.identity.conftest import serving

from pixelflow.client import ApiError, AsyncClient, Client, InvalidRequestError
from pixelflow.client.session import Session
from pixelflow.contracts.keys import Scope
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.settings import Settings

URL = "https://client.example/hooks"
PATH = "/v1/webhook-endpoints"


@pytest.fixture(scope="module")
def api(quiet: Settings) -> Iterator[str]:
    allowed = {
        "webhook_allow_cidrs": (ip_network("127.0.0.0/8"),),
        "webhook_allow_http": False,
        "max_webhook_endpoints": 2,
    }
    with serving(quiet.model_copy(update={"rate_limit_enabled": False, **allowed})) as url:
        yield url


@pytest.fixture
def session(api: str, quiet: Settings) -> Session:
    return Session(api, issue_key(quiet.database_url.get_secret_value(), user_id=f"user-{uuid4()}", name="test"))


@pytest.fixture
def http(session: Session) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=session.api_url, headers=session.headers()) as client:
        yield client


def add(http: httpx.Client, url: str = URL, **fields: object) -> dict[str, Any]:
    answer = http.post(PATH, json={"url": url, **fields})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_an_endpoint_is_created_listed_changed_and_deleted(http: httpx.Client) -> None:
    created = add(http, event_types=["job.failed"], description="alerts")
    path = f"{PATH}/{created['endpoint_id']}"
    assert (created["url"], created["event_types"], created["enabled"]) == (URL, ["job.failed"], True)
    assert http.get(path).json() == created
    changed = http.patch(path, json={"enabled": False, "event_types": None})
    assert changed.json() == {**created, "enabled": False, "event_types": None}
    assert http.get(PATH).json()["data"] == [changed.json()]
    assert http.delete(path).status_code == 204
    assert code_of(http.get(path)) == code_of(http.delete(path)) == (404, "not_found")


def test_a_url_has_one_endpoint_and_a_user_has_few(http: httpx.Client) -> None:
    first, second = add(http), add(http, f"{URL}/2")
    assert code_of(http.post(PATH, json={"url": f"{URL}/3"})) == (409, "too_many_webhook_endpoints")
    assert http.delete(f"{PATH}/{second['endpoint_id']}").status_code == 204
    assert code_of(http.post(PATH, json={"url": URL})) == (409, "webhook_endpoint_exists")
    other = add(http, f"{URL}/4")
    answer = http.patch(f"{PATH}/{other['endpoint_id']}", json={"url": URL})
    assert code_of(answer) == (409, "webhook_endpoint_exists")
    assert http.patch(f"{PATH}/{first['endpoint_id']}", json={"url": URL}).json() == first


def test_a_repeated_request_creates_one_endpoint(http: httpx.Client) -> None:
    answers = [http.post(PATH, json={"url": URL}, headers={"Idempotency-Key": "a"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ({}, "/url", 'is required, such as "https://client.example/hooks'),
        ({"webhook_url": URL}, "/url", "rename `webhook_url` to `url`"),
        ({"url": "client.example"}, "/url", "such as https://client.example/hooks"),
        ({"url": "https://10.0.0.1/"}, "/url", ""),
        ({"url": "http://client.example/"}, "/url", "https"),
        ({"url": URL, "events": ["job.failed"]}, "/events", "did you mean `event_types`?"),
        ({"url": URL, "event_types": []}, "/event_types", "must not be empty"),
        ({"url": URL, "event_types": ["job.done"]}, "/event_types/0", "`job.completed`"),
        ({"url": URL, "event_types": ["webhook.test"]}, "/event_types/0", "`job.completed`"),
        ({"url": URL, "active": False}, "/active", "did you mean `enabled`?"),
        ({"url": URL, "secret": "x"}, "/secret", "POST /v1/webhook-secret"),
        ({"url": URL, "enabled": "no"}, "/enabled", "must be true or false"),
    ],
)
def test_a_request_that_is_not_valid(http: httpx.Client, body: object, pointer: str, message: str) -> None:
    answer = http.post(PATH, json=body)
    assert code_of(answer) == (422, "validation_failed")
    found = {error["pointer"]: error["message"] for error in answer.json()["errors"]}
    assert message in found[pointer]


def test_a_change_of_nothing_is_refused(http: httpx.Client) -> None:
    path = f"{PATH}/{add(http)['endpoint_id']}"
    assert code_of(http.patch(path, json={})) == (422, "validation_failed")
    assert "needs at least one of `url`" in http.patch(path, json={}).json()["detail"]
    assert code_of(http.patch(path, json={"url": "https://10.0.0.1/"})) == (422, "validation_failed")


@pytest.mark.parametrize("scope", ["jobs:read", "webhooks:write"])
def test_changes_need_a_scope(api: str, quiet: Settings, scope: str) -> None:
    key = issue_key(
        quiet.database_url.get_secret_value(), user_id=f"user-{uuid4()}", name="test", scopes=frozenset({Scope(scope)})
    )
    with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {key}"}) as http:
        listed, created = http.get(PATH), http.post(PATH, json={"url": URL})
        secret = http.post("/v1/webhook-secret")
    reads = scope == "jobs:read"
    assert (listed.status_code == 200) is reads
    assert [answer.status_code for answer in (created, secret)] == ([403, 403] if reads else [201, 201])


def test_the_secret_is_shown_once_and_never_stored_by_caches(http: httpx.Client) -> None:
    first = http.post("/v1/webhook-secret")
    assert (first.status_code, first.headers["Cache-Control"]) == (201, "no-store")
    assert first.json()["secret"].startswith("whsec_")
    assert code_of(http.post("/v1/webhook-secret")) == (409, "webhook_secret_exists")
    assert http.post("/v1/webhook-secret/rotate").json()["previous_valid_until"] is not None


# ── The SDK ──────────────────────────────────────────────────────────────────────────────────────


def test_the_blocking_client(session: Session) -> None:
    with Client(session=session) as client:
        created = client.create_webhook_endpoint(URL, event_types=["job.failed"], description="alerts")
        assert client.get_webhook_endpoint(created.endpoint_id) == created
        changed = client.update_webhook_endpoint(created.endpoint_id, event_types="all", enabled=False)
        assert (changed.event_types, changed.enabled, changed.description) == (None, False, "alerts")
        sent = client.test_webhook_endpoint(created.endpoint_id)
        assert (sent.endpoint_id, sent.type) == (created.endpoint_id, "webhook.test")
        assert client.list_endpoint_deliveries(created.endpoint_id).data == []
        client.delete_webhook_endpoint(created.endpoint_id)
        assert client.list_webhook_endpoints().data == []
        assert client.create_webhook_secret().secret.startswith("whsec_")
        with pytest.raises(ApiError, match="webhook_secret_exists"):
            client.create_webhook_secret()
        with pytest.raises(InvalidRequestError, match="/url"):
            client.create_webhook_endpoint("client.example")
        with pytest.raises(InvalidRequestError, match="needs at least one of"):
            client.update_webhook_endpoint(created.endpoint_id)


def test_the_asynchronous_client(session: Session) -> None:
    async def use() -> None:
        async with AsyncClient(session=session) as client:
            created = await client.create_webhook_endpoint(URL)
            assert [each.url for each in (await client.list_webhook_endpoints()).data] == [URL]
            await client.delete_webhook_endpoint(created.endpoint_id)

    asyncio.run(use())


def test_keys_are_created_listed_and_revoked_by_the_sdk(session: Session) -> None:
    with Client(session=session) as client:
        created = client.create_key("shop", scopes=["jobs:read"])
        assert created.key.startswith(f"pf_{created.key_id}_")
        assert created.key not in repr(created)
        assert created.key_id in {key.key_id for key in client.list_keys().data}
        client.revoke_key(created.key_id)
        [revoked] = [key for key in client.list_keys().data if key.key_id == created.key_id]
        assert revoked.revoked_at is not None
        with pytest.raises(InvalidRequestError, match="did you mean `jobs:read`"):
            client.create_key("shop", scopes=["jobs.read"])
