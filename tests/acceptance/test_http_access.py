"""Authentication, health checks and request IDs."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

JOB = "/v1/jobs/018f0000-0000-7000-8000-000000000000"
ROUTES = [("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("GET", JOB), ("POST", f"{JOB}/start")]


def _key(client: httpx.Client) -> str:
    return client.headers["Authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "credentials",
    [
        pytest.param(lambda _: None, id="none"),
        pytest.param(lambda _: "", id="empty"),
        pytest.param(lambda _: "Bearer", id="no key"),
        pytest.param(lambda key: key, id="no scheme"),
        pytest.param(lambda key: f"Basic {key}", id="other scheme"),
        pytest.param(lambda _: "Bearer something", id="malformed"),
        pytest.param(lambda _: "Bearer pf__", id="nothing between"),
        pytest.param(lambda _: "Bearer pf_é_é".encode(), id="beyond ASCII"),
        pytest.param(lambda _: "Bearer pf_000000000000_" + "0" * 48, id="unknown key"),
        pytest.param(lambda key: f"Bearer {key[:-1]}{'0' if key[-1] != '0' else '1'}", id="wrong secret"),
        pytest.param(lambda key: f"Bearer {key}0", id="secret and more"),
        pytest.param(lambda key: f"Bearer {key.rpartition('_')[0]}_", id="no secret"),
    ],
)
def test_a_request_without_a_valid_key_is_rejected(
    somebody: httpx.Client,
    nobody: httpx.Client,
    method: str,
    path: str,
    credentials: Callable[[str], str | bytes | None],
) -> None:
    value = credentials(_key(somebody))
    headers = httpx.Headers({} if value is None else {"Authorization": value})  # type: ignore[arg-type]  # bytes too
    answer = nobody.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


def test_health_checks_need_no_key(nobody: httpx.Client) -> None:
    assert nobody.get("/healthz").json() == {"status": "ok"}
    ready = nobody.get("/readyz")
    assert ready.json() == {"status": "ok", "checks": dict.fromkeys(("postgres", "redis", "object_storage"), "ok")}


def test_a_valid_request_id_of_the_client_is_used(nobody: httpx.Client) -> None:
    for given in ("a", "order-17.try_2", "A" * 128):
        assert nobody.get("/v1/jobs", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("hostile", ["", "a b", "<script>", "A" * 129, "a\tb", "é".encode(), '{"a":1}', "a;b"])
def test_an_invalid_request_id_is_replaced(nobody: httpx.Client, hostile: str | bytes) -> None:
    headers = httpx.Headers({"X-Request-ID": hostile})  # type: ignore[arg-type]  # bytes too
    first, second = (nobody.get("/healthz", headers=headers) for _ in range(2))
    ids = {answer.headers["X-Request-ID"] for answer in (first, second)}
    assert len(ids) == 2
    assert all(len(each) == 32 and each.isalnum() for each in ids)
