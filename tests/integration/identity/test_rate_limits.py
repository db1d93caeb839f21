"""Rate limits through a running API: which credentials share a limit, and what a rejection contains."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from ipaddress import ip_network
from uuid import uuid4

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs
from tests.acceptance.running import wait_for
from tests.integration.identity.conftest import serving
from tests.integration.identity.http import JOB, ROUTES, Route

from pixelflow.contracts.keys import DEFAULT_SCOPES, Scope
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.keys import admin
from pixelflow.controlplane.limits.service import MAX_REMEMBERED, READ_FACTOR, Policy, RateLimiter
from pixelflow.controlplane.limits.store import Quota, TokenBuckets
from pixelflow.errors import LimiterUnavailableError
from pixelflow.settings import Settings

HOUR = 3600
CAPACITY = 3
READS = CAPACITY * READ_FACTOR
LOOPBACK = (ip_network("127.0.0.0/8"),)
NOWHERE = "redis://127.0.0.1:1"

Client = Callable[..., httpx.Client]
Key = Callable[..., str]
Api = Callable[..., str]


@pytest.fixture(scope="module")
def limited(settings: Settings) -> Settings:
    """Three requests, and no refill within a test. Each client has its own address, which a proxy forwards."""
    return settings.model_copy(
        update={
            "rate_limit_enabled": True,
            "rate_limit_capacity": CAPACITY,
            "rate_limit_window_seconds": HOUR,
            "trusted_proxies": LOOPBACK,
        }
    )


@pytest.fixture(scope="module")
def url(limited: Settings) -> Iterator[str]:
    """An API with those limits."""
    with serving(limited) as api:
        yield api


@pytest.fixture
def connect() -> Iterator[Client]:
    opened: list[httpx.Client] = []

    def make(url: str, key: str, address: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": address or new_address()}
        opened.append(httpx.Client(base_url=url, headers=headers, timeout=30))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def new_key(database_url: str, user_id: str) -> Key:
    def make(whose: str = user_id, *, scopes: frozenset[Scope] = DEFAULT_SCOPES, rate_limit: int | None = None) -> str:
        return admin.issue_key(database_url, user_id=whose, name="n", scopes=scopes, rate_limit=rate_limit)

    return make


def new_address() -> str:
    return f"2001:db8:{uuid4().hex[:4]}:{uuid4().hex[:4]}::1"


def create(client: httpx.Client, **options: str) -> httpx.Response:
    return client.post("/v1/jobs", json=JOB, headers=options)


def exhaust(client: httpx.Client, requests: int = READS) -> None:
    assert [client.get("/v1/keys").status_code for _ in range(requests + 1)] == [200] * requests + [429]


# ── Headers and errors ───────────────────────────────────────────────────────────────────────────


def test_every_response_has_the_rate_limit_headers(url: str, connect: Client, new_key: Key) -> None:
    client = connect(url, new_key(scopes=frozenset({Scope.JOBS_WRITE, Scope.JOBS_READ})))
    answers = [
        client.get(f"/v1/jobs/{uuid4()}"),  # not found
        client.get("/v1/keys"),  # lacks a scope
        client.get("/v1/jobs", params={"limit": 0}),  # not valid
        client.delete(f"/v1/jobs/{uuid4()}"),
        client.post("/v1/jobs", content="{", headers={"Content-Type": "application/json"}),  # not JSON
        create(client),
    ]
    assert [answer.status_code for answer in answers] == [404, 403, 422, 404, 400, 202]
    values = [answer.headers["RateLimit"] for answer in answers]
    assert [re.sub(r"t=(240|2[0-3]\d)$", "t=240", value) for value in values[:3]] == [
        f'"read";r={left};t=240' for left in (14, 13, 12)
    ]
    assert values[3:5] == ['"other";r=2;t=1200', '"create";r=2;t=1200']
    assert re.fullmatch(r'"create";r=1;t=1(200|1[89]\d)', values[5])
    policies = ['"read";q=15;w=3600'] * 3 + ['"other";q=3;w=3600'] + ['"create";q=3;w=3600'] * 2
    assert [answer.headers["RateLimit-Policy"] for answer in answers] == policies


def test_a_rejection_is_a_problem_with_retry_after(url: str, connect: Client, new_key: Key) -> None:
    client = connect(url, new_key())
    exhaust(client)
    answer = client.get("/v1/keys")
    assert (answer.status_code, answer.headers["Content-Type"]) == (429, "application/problem+json")
    assert answer.json()["code"] == "rate_limited"
    seconds = int(answer.headers["Retry-After"])
    assert 1 <= seconds <= HOUR / CAPACITY
    assert answer.headers["RateLimit"] == f'"read";r=0;t={seconds}'
    assert f"try again in {seconds} s" in answer.json()["detail"]


def test_a_rejected_request_has_no_effect(limited: Settings, running_api: Api, connect: Client, new_key: Key) -> None:
    url = running_api(limited.model_copy(update={"rate_limit_capacity": 1, "rate_limit_window_seconds": 2}))
    client = connect(url, new_key())
    assert create(client).status_code == 202
    key = str(uuid4())
    refused = create(client, **{"Idempotency-Key": key})
    assert (refused.status_code, len(client.get("/v1/jobs").json()["data"])) == (429, 1)
    answers: list[httpx.Response] = []

    def passes() -> bool:
        answers.append(create(client, **{"Idempotency-Key": key}))
        return answers[-1].status_code != 429

    wait_for(passes, 10)
    assert (answers[-1].status_code, "Idempotent-Replayed" in answers[-1].headers) == (202, False)


def test_an_unread_body_does_not_break_the_connection(url: str, connect: Client, new_key: Key) -> None:
    client = connect(url, new_key())
    assert [create(client).status_code for _ in range(CAPACITY)] == [202] * CAPACITY
    large = b" " * 900_000
    statuses = {client.post("/v1/jobs", content=large, headers={"Content-Type": "text/plain"}).status_code}
    assert (statuses, client.get("/v1/keys").status_code) == ({429}, 200)


# ── Shared limits ────────────────────────────────────────────────────────────────────────────────


def test_keys_of_one_user_share_a_limit_and_keys_of_two_users_do_not(url: str, connect: Client, new_key: Key) -> None:
    exhaust(connect(url, new_key()))
    assert connect(url, new_key()).get("/v1/keys").status_code == 429
    exhaust(connect(url, new_key(f"user-{uuid4()}")))


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_route_counts_against_its_class(url: str, connect: Client, new_key: Key, route: Route) -> None:
    """Creates, starts with retries, reads, and all the rest: where one is used up the others go on."""
    created = dict.fromkeys(("create_job", "create_batch", "add_jobs"), "create")
    kind = {**created, "start_job": "start", "retry_job": "start"}.get(
        route.operation["operationId"], "read" if route.method == "GET" else "other"
    )
    client = connect(url, new_key())
    answer = route.send(client)
    left = READS - 1 if kind == "read" else CAPACITY - 1
    assert answer.headers["RateLimit"].startswith(f'"{kind}";r={left};')
    others: dict[str, Callable[[], httpx.Response]] = {
        "create": lambda: create(client),
        "start": lambda: client.post(f"/v1/jobs/{uuid4()}/start"),
        "read": lambda: client.get("/v1/jobs"),
        "other": lambda: client.delete(f"/v1/jobs/{uuid4()}"),
    }
    for name, send in others.items():
        left = (READS if name == "read" else CAPACITY) - (2 if name == kind else 1)
        assert send().headers["RateLimit"].startswith(f'"{name}";r={left};')


def test_a_key_with_its_own_limit_does_not_share_the_limit_of_its_user(url: str, connect: Client, new_key: Key) -> None:
    exhaust(connect(url, new_key()))
    own = connect(url, new_key(rate_limit=5))
    assert own.get("/v1/keys").headers["RateLimit-Policy"] == '"read";q=25;w=3600'
    exhaust(own, 24)
    exhaust(connect(url, new_key(rate_limit=2)), 10)


def test_a_key_shares_the_limit_of_the_key_that_created_it(url: str, connect: Client, new_key: Key) -> None:
    """Creating keys neither raises a limit nor escapes a lower one."""
    own = connect(url, new_key(rate_limit=2))
    made = own.post("/v1/keys", json={"name": "n", "scopes": ["keys:write"]}).json()
    assert made["rate_limit"] == 2
    child = connect(url, made["key"])
    grandchild = child.post("/v1/keys", json={"name": "n", "scopes": ["keys:write"]}).json()
    assert grandchild["rate_limit"] == 2
    keys = (made["key"], grandchild["key"])
    assert [connect(url, key).delete("/v1/keys/x").status_code for key in keys] == [429, 429]


@pytest.mark.parametrize("scopes", [DEFAULT_SCOPES, frozenset({Scope.ADMIN})], ids=["default", "admin"])
def test_the_api_can_not_give_a_key_its_own_limit(
    url: str, connect: Client, new_key: Key, scopes: frozenset[Scope]
) -> None:
    client = connect(url, new_key(scopes=scopes))
    asked = {"name": "n", "scopes": ["jobs:read"]}
    assert client.post("/v1/keys", json={**asked, "rate_limit": 1000}).status_code == 422
    assert client.post("/v1/keys", json=asked).json()["rate_limit"] is None


# ── Unauthenticated clients ──────────────────────────────────────────────────────────────────────


def test_a_client_with_too_many_failed_attempts_is_blocked(url: str, connect: Client, new_key: Key) -> None:
    """But not a valid key from the same network, also one that was never used before."""
    address = new_address()
    client = connect(url, "pf_a_b", address)
    answers = [client.get("/v1/jobs") for _ in range(CAPACITY + 2)]
    assert [answer.status_code for answer in answers] == [401] * CAPACITY + [429] * 2
    assert answers[0].headers["RateLimit"] == '"unauthenticated";r=2;t=1200'
    assert HOUR / CAPACITY - 10 <= int(answers[-1].headers["Retry-After"]) <= HOUR / CAPACITY
    neighbor = connect(url, "pf_a_c", address.replace("::1", "::2"))
    assert neighbor.get("/v1/jobs").status_code == 429
    assert connect(url, new_key(), address).get("/v1/jobs").status_code == 200
    assert connect(url, "pf_a_d").get("/v1/jobs").status_code == 401


def test_a_flood_of_invalid_keys_does_not_block_valid_keys_of_its_network(
    limited: Settings, running_api: Api, connect: Client, new_key: Key
) -> None:
    """A known key is never rejected, however many invalid ones arrive; a new one passes while they are few."""
    registry = CollectorRegistry()
    url = running_api(limited.model_copy(update={"rate_limit_capacity": 20}), registry)
    address = new_address()
    known = connect(url, new_key(), address)
    assert known.get("/v1/jobs").status_code == 200
    guessing = connect(url, "", address)
    statuses = []
    for number in range(36):
        guessing.headers["Authorization"] = f"Bearer pf_{number}_{uuid4().hex}"
        statuses.append(guessing.get("/v1/jobs").status_code)
        if number % 8 == 0:
            assert known.get("/v1/jobs").status_code == 200
    assert statuses == [401] * 20 + [429] * 16
    for _ in range(3):
        guessing.headers["Authorization"] = f"Bearer pf_1_{uuid4().hex}"
        assert guessing.get("/v1/jobs").status_code == 429
        assert connect(url, new_key(f"user-{uuid4()}"), address).get("/v1/jobs").status_code == 200


def test_failed_attempts_are_counted_across_api_processes(limited: Settings, running_api: Api, connect: Client) -> None:
    address = new_address()
    one, other = (connect(running_api(limited), "pf_a_b", address) for _ in range(2))
    assert [client.get("/v1/jobs").status_code for client in (one, other, one, other)] == [401, 401, 401, 429]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer pf_", "Bearer eyJ.e30.AA", "Basic cGY6cGY="])
def test_every_kind_of_failed_attempt_counts(url: str, connect: Client, header: str) -> None:
    client = connect(url, "to be replaced")
    client.headers["Authorization"] = header
    assert [client.post("/v1/jobs", content="{").status_code for _ in range(CAPACITY + 1)] == [401] * CAPACITY + [429]


def test_authenticated_requests_do_not_count_as_failed_attempts(url: str, connect: Client, new_key: Key) -> None:
    address = new_address()
    exhaust(connect(url, new_key(), address))
    assert connect(url, "pf_a_b", address).get("/v1/jobs").status_code == 401


def test_a_block_expires(limited: Settings, running_api: Api, connect: Client) -> None:
    url = running_api(limited.model_copy(update={"rate_limit_capacity": 1, "rate_limit_window_seconds": 1}))
    client = connect(url, "pf_a_b")
    assert [client.get("/v1/jobs").status_code for _ in range(2)] == [401, 429]
    wait_for(lambda: client.get("/v1/jobs").status_code == 401, 10)


@pytest.mark.parametrize(
    ("trusted", "forwarded", "shared"),
    [
        ([], ["{a}", "{b}"], True),  # no proxy is trusted: both come from one peer
        (["10.0.0.0/8"], ["{a}", "{b}"], True),  # the peer is none of those
        (["127.0.0.0/8"], ["{a}", "{b}"], False),
        (["127.0.0.0/8"], ["{b}, {a}", "{c}, {a}"], True),  # clients can forge everything before the last hop
        (["127.0.0.0/8"], ["{a}, {b}", "{a}, {c}"], False),
        (["127.0.0.0/8", "10.0.0.0/8"], ["{a}, 10.0.0.1", "{a}, 10.0.0.2"], True),  # two proxies, one behind the other
        (["127.0.0.0/8", "10.0.0.0/8"], ["{a}, 10.0.0.1", "{b}, 10.0.0.1"], False),
    ],
    ids=str,
)
def test_only_the_last_hop_before_trusted_proxies_is_used(
    *,
    limited: Settings,
    running_api: Api,
    connect: Client,
    trusted: list[str],
    forwarded: list[str],
    shared: bool,
) -> None:
    proxies = tuple(map(ip_network, trusted))
    url = running_api(limited.model_copy(update={"trusted_proxies": proxies}))
    addresses = {name: new_address() for name in "abc"}
    one, other = (connect(url, "pf_a_b", header.format(**addresses)) for header in forwarded)
    assert [one.get("/v1/jobs").status_code for _ in range(CAPACITY + 1)][-1] == 429
    assert other.get("/v1/jobs").status_code == (429 if shared else 401)


async def test_a_blocked_client_is_logged_once(settings: Settings) -> None:
    address = new_address()
    async with TokenBuckets(settings.redis_url.get_secret_value()) as buckets:
        limits = RateLimiter(buckets, Quota(2, HOUR), allow_uncounted=True, metrics=ApiMetrics(CollectorRegistry()))
        with capture_logs() as logs:
            for _ in range(5):
                await limits.count_failed_auth(address)
    assert [log["address"] for log in logs] == [address]


async def test_the_number_of_remembered_empty_buckets_is_limited(settings: Settings) -> None:
    async with TokenBuckets(settings.redis_url.get_secret_value()) as buckets:
        limits = RateLimiter(buckets, Quota(1, HOUR), allow_uncounted=True, metrics=ApiMetrics(CollectorRegistry()))
        network = uuid4().hex
        with capture_logs():
            for number in range(MAX_REMEMBERED + 1):
                limits._remember(limits._bucket_of_failures(f"{network}-{number}"), time.monotonic(), 60)
    remembered = [limits.find_block(f"{network}-{number}") is not None for number in range(MAX_REMEMBERED + 1)]
    assert remembered == [False] + [True] * MAX_REMEMBERED


# ── While Redis is unavailable ───────────────────────────────────────────────────────────────────


def test_requests_are_allowed_while_redis_is_unavailable(
    limited: Settings, running_api: Api, connect: Client, new_key: Key
) -> None:
    url = running_api(limited.model_copy(update={"redis_url": SecretStr(NOWHERE)}))
    client = connect(url, new_key())
    answers = [client.get("/v1/jobs") for _ in range(CAPACITY + 2)]
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit" not in answers[0].headers
    assert {connect(url, "pf_a_b").get("/v1/jobs").status_code for _ in range(CAPACITY + 2)} == {401}


def test_requests_can_be_rejected_while_redis_is_unavailable(
    limited: Settings, running_api: Api, connect: Client, new_key: Key
) -> None:
    refusing = {"redis_url": SecretStr(NOWHERE), "rate_limit_without_redis": "refuse"}
    url = running_api(limited.model_copy(update=refusing))
    for key in (new_key(), "pf_a_b"):
        answer = connect(url, key).get("/v1/jobs")
        assert (answer.status_code, answer.json()["code"]) == (503, "limiter_unavailable")
        assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("passes", [True, False])
async def test_the_metrics_count_every_uncounted_request(passes: bool) -> None:
    registry = CollectorRegistry()
    async with TokenBuckets(NOWHERE) as buckets:
        limits = RateLimiter(buckets, Quota(1, HOUR), allow_uncounted=passes, metrics=ApiMetrics(registry))
        for _ in range(3):
            with nullcontext() if passes else pytest.raises(LimiterUnavailableError):
                assert await limits.count_request(Identity("u", DEFAULT_SCOPES), Policy.OTHER) is None
    assert registry.get_sample_value("pixelflow_api_rate_limit_unavailable_total") == 3


def test_rejections_are_counted_by_route_template(
    limited: Settings, running_api: Api, connect: Client, new_key: Key
) -> None:
    registry = CollectorRegistry()
    client = connect(running_api(limited, registry), new_key())
    for _ in range(READS + 1):
        client.get(f"/v1/jobs/{uuid4()}")
    client.get("/v1/keys")
    for route in ("/v1/jobs/{job_id}", "/v1/keys"):
        assert registry.get_sample_value("pixelflow_api_rate_limit_rejections_total", {"route": route}) == 1
