"""Keys through the running API: created, shown once, limited to their scopes, revoked."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from tests.integration.identity.http import ROUTES, Route

from pixelflow.contracts.keys import DEFAULT_SCOPES, Scope
from pixelflow.controlplane.keys import admin as keys_admin
from pixelflow.controlplane.keys.service import MAX_KEYS
from pixelflow.devstack.stack import Stack

NewClient = Callable[[], httpx.Client]


def make(client: httpx.Client, **changes: Any) -> httpx.Response:  # noqa: ANN401
    return client.post("/v1/keys", json={"name": "n", "scopes": ["jobs:read"], **changes})


def bearer(service: Stack, key: str) -> httpx.Client:
    return httpx.Client(base_url=service.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def key_of(client: httpx.Client) -> str:
    return client.headers["Authorization"].removeprefix("Bearer ")


def test_a_key_is_shown_once_and_works(service: Stack, client: httpx.Client) -> None:
    answer = make(client, name="shop", expires_at="2100-01-01T00:00:00Z")
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    created = answer.json()
    assert re.fullmatch(rf"pf_{created['key_id']}_[0-9a-f]{{48}}", created["key"])
    listed = client.get("/v1/keys")
    assert created["key"].rsplit("_")[-1] not in listed.text
    shown = {name: value for name, value in created.items() if name != "key"}
    assert shown in listed.json()["data"]
    with bearer(service, created["key"]) as made:
        assert made.get("/v1/jobs").status_code == 200


def test_the_last_use_is_recorded(service: Stack, client: httpx.Client) -> None:
    created = make(client).json()
    assert created["last_used_at"] is None
    with bearer(service, created["key"]) as made:
        for _ in range(3):
            made.get("/v1/jobs")
    [row] = [row for row in client.get("/v1/keys").json()["data"] if row["key_id"] == created["key_id"]]
    assert abs(datetime.fromisoformat(row["last_used_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_revoked_key_is_rejected_at_the_next_request(service: Stack, client: httpx.Client) -> None:
    created = make(client).json()
    with bearer(service, created["key"]) as made:
        assert made.get("/v1/jobs").status_code == 200
        assert client.delete(f"/v1/keys/{created['key_id']}").status_code == 204
        assert made.get("/v1/jobs").status_code == 401
    assert client.delete(f"/v1/keys/{created['key_id']}").status_code == 204
    states = {row["key_id"]: row["revoked_at"] for row in client.get("/v1/keys").json()["data"]}
    assert states[created["key_id"]] is not None


def test_an_expired_key_is_rejected(service: Stack, client: httpx.Client) -> None:
    created = make(client, expires_at=(datetime.now(UTC) + timedelta(days=1)).isoformat()).json()
    url = service.environment["PIXELFLOW_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True, options="-c pixelflow.tenant_scope=everyone") as connection:
        connection.execute("UPDATE api_keys SET expires_at = now() WHERE key_id = %s", (created["key_id"],))
    with bearer(service, created["key"]) as made:
        assert made.get("/v1/jobs").status_code == 401


def test_a_user_can_not_revoke_another_users_key(new_client: NewClient) -> None:
    mine, other = new_client(), new_client()
    key_id = make(mine).json()["key_id"]
    assert other.delete(f"/v1/keys/{key_id}").status_code == 404
    assert key_id not in other.get("/v1/keys").text
    assert mine.get("/v1/keys").json()["data"][0]["revoked_at"] is None


@pytest.mark.parametrize("wanted", [["admin"], ["jobs:read", "admin"]])
def test_a_key_can_only_grant_scopes_that_it_has(client: httpx.Client, wanted: list[str]) -> None:
    answer = make(client, scopes=wanted)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert "`admin`" in answer.json()["detail"]


def test_admin_grants_every_scope(service: Stack, user_id: str) -> None:
    url = service.environment["PIXELFLOW_DATABASE_URL"]
    key = keys_admin.issue_key(url, user_id=user_id, name="n", scopes=frozenset({Scope.ADMIN}))
    with bearer(service, key) as admin:
        assert admin.get("/v1/jobs").status_code == 200
        assert make(admin, scopes=sorted(Scope)).status_code == 201


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["jobs:everything"]}, "/scopes/0"),
        ({"name": ""}, "/name"),
        ({"name": "a\x00b"}, "/name"),
        ({"name": "n" * 65}, "/name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2100-01-01T00:00:00"}, "/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "/expires_at"),
        ({"user_id": "another"}, "/user_id"),
    ],
    ids=str,
)
def test_an_invalid_key_request_is_rejected(client: httpx.Client, changes: dict[str, Any], pointer: str) -> None:
    answer = make(client, **changes)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}


def test_the_number_of_active_keys_is_limited(service: Stack, client: httpx.Client) -> None:
    url = service.environment["PIXELFLOW_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True, options="-c pixelflow.tenant_scope=everyone") as connection:
        connection.execute(
            """INSERT INTO api_keys (key_id, user_id, name, secret_hash, scopes)
               SELECT md5(random()::text), user_id, 'n', 'x', '{}' FROM api_keys, generate_series(2, %s)
               WHERE key_id = %s""",
            (MAX_KEYS, key_of(client).split("_")[1]),
        )
    answer = make(client)
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_keys")


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_route_requires_its_scope(service: Stack, user_id: str, route: Route) -> None:
    """With every scope but the one that it needs: 403, and the answer says which. Without any key: 401."""
    [needed] = route.scopes
    url = service.environment["PIXELFLOW_DATABASE_URL"]
    key = keys_admin.issue_key(url, user_id=user_id, name="n", scopes=DEFAULT_SCOPES - {Scope(needed)})
    with bearer(service, key) as limited:
        answer = route.send(limited)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert answer.headers["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{needed}"'
    with httpx.Client(base_url=service.api_url) as unauthenticated:
        assert route.send(unauthenticated).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer pf_",
        "Bearer pf__",
        "Bearer pf_a_b",
        "Basic cGY6cGY=",
        "Bearer eyJ.e30.AA",
        "pf_a_b",
    ],
)
def test_a_malformed_or_unknown_key_is_rejected(service: Stack, header: str) -> None:
    answer = httpx.get(f"{service.api_url}/v1/jobs", headers={"Authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_two_authorization_headers_are_rejected_even_with_valid_keys(client: httpx.Client, service: Stack) -> None:
    """A proxy may have checked one of them and the service would use the other."""
    header = ("Authorization", client.headers["Authorization"])
    answer = httpx.get(f"{service.api_url}/v1/jobs", headers=[header, header])
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.json()["detail"] == "The request has more than one `Authorization` header; send one"


def test_the_secret_of_another_key_is_rejected(service: Stack, new_client: NewClient) -> None:
    one, other = (key_of(new_client()).split("_") for _ in range(2))
    for parts in ((one[1], other[2]), (one[1], one[2][:-1]), (one[1], one[2] + "0"), (one[1].upper(), one[2])):
        with bearer(service, "pf_" + "_".join(parts)) as forged:
            assert forged.get("/v1/jobs").status_code == 401
