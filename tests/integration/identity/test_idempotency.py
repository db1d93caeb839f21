"""``Idempotency-Key``: a repeated request has no further effect and gets the first response, even after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from fastapi import Request, Response
from psycopg.rows import DictRow, dict_row
from pydantic import BaseModel
from starlette.types import Message
from tests.integration.identity.conftest import AddRows
from tests.integration.identity.http import JOB, POSTS, Route

from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase, of_user
from pixelflow.contracts.keys import DEFAULT_SCOPES
from pixelflow.controlplane.encryption import SecretCipher
from pixelflow.controlplane.idempotency import store
from pixelflow.controlplane.idempotency.calls import IdempotentCall
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.retention.gc import RowCollector
from pixelflow.controlplane.retention.periods import RetentionPeriods
from pixelflow.errors import IdempotencyInProgressError, NotFoundError, StoreUnavailableError
from pixelflow.settings import Settings

NewClient = Callable[[], httpx.Client]
CIPHER = SecretCipher([b"k" * 32])


def create(client: httpx.Client, key: str, body: Any = JOB) -> httpx.Response:  # noqa: ANN401
    return client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})


@pytest.fixture
def operator(database_url: str) -> Any:  # noqa: ANN401
    with psycopg.connect(
        database_url, autocommit=True, options="-c pixelflow.tenant_scope=everyone", row_factory=dict_row
    ) as connection:
        yield connection


def test_a_repeated_request_gets_the_first_response_and_a_new_url(client: httpx.Client) -> None:
    key = str(uuid4())
    first, second = create(client, key), create(client, key)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.status_code == first.status_code == 202
    uploads = [answer.json().pop("upload") for answer in (first, second)]
    assert {**first.json(), "upload": None} == {**second.json(), "upload": None}
    assert uploads[0].keys() == uploads[1].keys()
    assert httpx.put(uploads[1]["presigned_put_url"], content=b"x" * 9).status_code == 200
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_fifty_concurrent_requests_create_one_job(client: httpx.Client) -> None:
    key = str(uuid4())
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: create(client, key), range(50)))
    done = [answer for answer in answers if answer.status_code == 202]
    assert done
    assert len({answer.json()["job_id"] for answer in done}) == 1
    for answer in answers:
        if answer.status_code != 202:
            assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
            assert answer.headers["Retry-After"] == "1"
    assert len(client.get("/v1/jobs").json()["data"]) == 1


@pytest.mark.parametrize(
    "change", [{"metadata": {"a": "b"}}, {"pipeline": [{**JOB["pipeline"][0], "width": 8}]}], ids=str
)
def test_a_key_can_not_be_reused_with_another_body(client: httpx.Client, change: dict[str, Any]) -> None:
    key = str(uuid4())
    create(client, key)
    answer = create(client, key, JOB | change)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("route", POSTS, ids=str)
def test_a_key_can_not_be_reused_on_another_route(client: httpx.Client, route: Route) -> None:
    key = str(uuid4())
    first = create(client, key, JOB | {"metadata": {"other": "than the route's own"}})
    assert first.status_code == 202
    answer = route.send(client, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("route", POSTS, ids=str)
def test_every_post_rejects_an_invalid_key(client: httpx.Client, route: Route) -> None:
    for key in ("", "a b", "a" * 256, "clé".encode()):
        answer = route.send(client, headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid"), key


def test_two_keys_in_one_request_are_rejected(client: httpx.Client) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert client.post("/v1/jobs", json=JOB, headers=headers).json()["code"] == "idempotency_key_invalid"


@pytest.mark.parametrize("route", POSTS, ids=str)
def test_every_post_repeats_its_response(client: httpx.Client, route: Route) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    ids = {name: str(uuid4()) for name in ("job_id", "delivery_id", "asset_id", "endpoint_id", "batch_id")}
    first, second = (route.send(client, ids, headers=key) for _ in range(2))
    assert second.headers.get("Idempotent-Replayed") == ("true" if first.is_success else None)
    assert second.status_code == first.status_code
    fresh = {"upload", "request_id"}
    assert {**first.json(), **dict.fromkeys(fresh)} == {**second.json(), **dict.fromkeys(fresh)}


def test_a_request_that_fails_because_of_the_state_succeeds_with_its_key_later(client: httpx.Client) -> None:
    created = create(client, str(uuid4())).json()
    key = {"Idempotency-Key": str(uuid4())}
    start = partial(client.post, f"/v1/jobs/{created['job_id']}/start", headers=key)
    for missing in (start(), start()):
        assert (missing.status_code, missing.json()["code"]) == (409, "source_missing")
        assert "Idempotent-Replayed" not in missing.headers
    upload = created["upload"]
    assert httpx.put(upload["presigned_put_url"], content=b"x" * 9).status_code == 200
    started, again = start(), start()
    assert started.status_code == again.status_code == 202
    assert "Idempotent-Replayed" not in started.headers
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_one_of_many_repetitions_of_a_failed_request_runs(database: AsyncDatabase, identity: Identity) -> None:
    with pytest.raises(NotFoundError):
        await new_call(database).run(identity, Result, Operation(NotFoundError("not yet")))
    operation = Operation(Result(), may_finish=False)
    running = asyncio.create_task(new_call(database).run(identity, Result, operation))
    await operation.started.wait()
    for _ in range(3):
        with pytest.raises(IdempotencyInProgressError):
            await new_call(database).run(identity, Result, never)
    operation.may_finish.set()
    assert await running == await new_call(database).run(identity, Result, never) == Result()


async def test_an_error_that_an_older_release_stored_is_not_repeated(
    database: AsyncDatabase, identity: Identity
) -> None:
    await new_call(database).run(identity, Result, Operation(Result(value="old")))
    async with database.connection(of_user(identity.user_id)) as connection:
        await connection.execute("UPDATE idempotency_keys SET status = 409")
    assert await new_call(database).run(identity, Result, Operation(Result(value="new"))) == Result(value="new")


def test_a_request_that_fails_validation_or_authentication_does_not_use_its_key(client: httpx.Client) -> None:
    key = str(uuid4())
    assert create(client, key, {"pipeline": []}).status_code == 422
    assert create(client, key, JOB | {"webhook_url": "https://169.254.169.254/"}).status_code == 422
    with httpx.Client(base_url=client.base_url) as unauthenticated:
        assert create(unauthenticated, key).status_code == 401
    assert create(client, key).status_code == 202


def test_the_same_key_of_two_users_is_two_keys(new_client: NewClient) -> None:
    one, other = (create(new_client(), "the-same-key").json()["job_id"] for _ in range(2))
    assert one != other


def test_a_repeated_response_contains_the_secret_which_is_stored_encrypted(
    client: httpx.Client, operator: psycopg.Connection[DictRow]
) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    first, second = (
        client.post("/v1/keys", json={"name": "n", "scopes": ["jobs:read"]}, headers=headers).json() for _ in range(2)
    )
    assert first == second
    row = operator.execute("SELECT * FROM idempotency_keys WHERE key = %s", (headers["Idempotency-Key"],)).fetchone()
    assert row is not None
    assert first["key"].encode() not in row["ciphertext"]
    assert first["key_id"].encode() not in row["ciphertext"]


def test_after_a_crash_a_repeated_request_finds_the_job_it_created(
    client: httpx.Client, operator: psycopg.Connection[DictRow]
) -> None:
    """The API died between storing the job and storing the response."""
    key = str(uuid4())
    first = create(client, key)
    operator.execute(
        "UPDATE idempotency_keys SET status = NULL, ciphertext = NULL, lease_until = now() + '1 min' WHERE key = %s",
        (key,),
    )
    waiting = create(client, key)
    assert (waiting.status_code, waiting.json()["code"]) == (409, "idempotency_in_progress")
    operator.execute("UPDATE idempotency_keys SET lease_until = now() WHERE key = %s", (key,))
    assert create(client, key, JOB | {"metadata": {"a": "b"}}).json()["code"] == "idempotency_key_reused"
    again = create(client, key)
    assert "Idempotent-Replayed" not in again.headers
    assert again.json()["job_id"] == first.json()["job_id"]
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_after_a_crash_a_repeated_request_replaces_the_secret_of_a_key_that_was_never_returned(
    client: httpx.Client, operator: psycopg.Connection[DictRow]
) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    body = {"name": "n", "scopes": ["jobs:read"]}
    lost = client.post("/v1/keys", json=body, headers=headers).json()
    operator.execute(
        "UPDATE idempotency_keys SET status = NULL, ciphertext = NULL, lease_until = now() WHERE key = %s",
        (headers["Idempotency-Key"],),
    )
    again = client.post("/v1/keys", json=body, headers=headers).json()
    assert again["key_id"] == lost["key_id"]
    statuses = [
        client.get("/v1/jobs", headers={"Authorization": f"Bearer {key['key']}"}).status_code for key in (lost, again)
    ]
    assert statuses == [401, 200]


@pytest.mark.parametrize("replayed", ["create", "cancel"])
def test_erasing_a_job_deletes_its_stored_responses_and_a_repeated_request_has_no_effect(
    client: httpx.Client, operator: psycopg.Connection[DictRow], replayed: str
) -> None:
    body = JOB | {"metadata": {"of": "a person"}}
    keys = {name: {"Idempotency-Key": str(uuid4())} for name in ("create", "cancel")}
    job_id = client.post("/v1/jobs", json=body, headers=keys["create"]).json()["job_id"]
    paths = {"create": ("/v1/jobs", body), "cancel": (f"/v1/jobs/{job_id}/cancel", None)}
    assert client.post(paths["cancel"][0], headers=keys["cancel"]).json()["metadata"] == body["metadata"]
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    path, sent = paths[replayed]
    again = client.post(path, json=sent, headers=keys[replayed])
    assert (again.status_code, again.json()["code"]) == (404, "not_found")
    assert client.get("/v1/jobs").json()["data"] == []
    [row] = operator.execute("SELECT ciphertext FROM idempotency_keys WHERE key = %s", (*keys[replayed].values(),))
    assert row["ciphertext"] is None


class Result(BaseModel):
    value: str = "done"


class Operation:
    """The work of a request; it notes the ID that it is given, and can wait for permission to finish."""

    def __init__(self, outcome: Result | Exception, *, may_finish: bool = True) -> None:
        self._outcome = outcome
        self.resource_id: UUID | None = None
        self.started = asyncio.Event()
        self.may_finish = asyncio.Event()
        if may_finish:
            self.may_finish.set()

    async def __call__(self, resource_id: UUID) -> Result:
        self.resource_id = resource_id
        self.started.set()
        await self.may_finish.wait()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


async def never(_: UUID) -> Result:
    raise AssertionError("the request is executed again")


def new_call(
    database: AsyncDatabase, *, body: bytes = b"{}", lease: timedelta = timedelta(minutes=1)
) -> IdempotentCall:
    """A POST with the key ``k``, outside of any application."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "server": ("api", 80),
        "path": "/v1/things",
    }
    scope |= {"query_string": b"", "headers": [(b"idempotency-key", b"k")], "state": {"request_id": "r"}}

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return IdempotentCall(Request(scope, receive), Response(), database, CIPHER, lease=lease)


@pytest.fixture
def identity(user_id: str) -> Identity:
    return Identity(user_id, DEFAULT_SCOPES)


async def test_a_response_that_is_ready_after_the_erasure_is_not_stored(
    database: AsyncDatabase, identity: Identity
) -> None:
    job_id = uuid4()

    async def erase_meanwhile(_: UUID) -> Result:
        async with database.connection(of_user(identity.user_id)) as connection:
            await store.forget_job(connection, user_id=identity.user_id, job_id=job_id)
        return Result(value="a person")

    assert await new_call(database).run(identity, Result, erase_meanwhile, job_id=job_id)
    with pytest.raises(NotFoundError):
        await new_call(database, lease=timedelta(0)).run(identity, Result, never, job_id=job_id)


async def test_a_request_whose_lease_expired_neither_releases_the_claim_nor_replaces_the_response(
    database: AsyncDatabase, identity: Identity
) -> None:
    failing = Operation(ZeroDivisionError(), may_finish=False)
    slow = Operation(Result(value="slow"), may_finish=False)
    fast = Operation(Result(value="fast"), may_finish=False)
    tasks = []
    for operation, lease in ((failing, timedelta(0)), (slow, timedelta(0)), (fast, timedelta(minutes=1))):
        call = new_call(database, lease=lease)
        tasks.append(asyncio.create_task(call.run(identity, Result, operation)))
        await operation.started.wait()
    assert failing.resource_id == slow.resource_id == fast.resource_id
    failing.may_finish.set()
    with pytest.raises(ZeroDivisionError):
        await tasks[0]
    with pytest.raises(IdempotencyInProgressError):
        await new_call(database).run(identity, Result, never)
    fast.may_finish.set()
    await tasks[2]
    slow.may_finish.set()
    assert await tasks[1] == Result(value="fast"), "two requests with one key never return two results"
    assert await new_call(database).run(identity, Result, never) == Result(value="fast")


async def _holder(database: AsyncDatabase, user_id: str) -> object:
    async with database.connection(of_user(user_id)) as connection:
        [row] = await (await connection.execute("SELECT holder FROM idempotency_keys")).fetchall()
    return row["holder"]


@pytest.mark.parametrize("error", [ZeroDivisionError(), StoreUnavailableError("away")], ids=["bug", "dependency"])
async def test_a_server_error_is_not_stored_but_the_resource_id_is(
    database: AsyncDatabase, identity: Identity, error: Exception
) -> None:
    first, second = Operation(error), Operation(Result())
    with pytest.raises(type(error)):
        await new_call(database).run(identity, Result, first)
    first_holder = await _holder(database, identity.user_id)
    assert await new_call(database).run(identity, Result, second) == Result()
    assert second.resource_id == first.resource_id
    assert await _holder(database, identity.user_id) != first_holder


async def _age_keys(database: AsyncDatabase, user_id: str) -> None:
    async with database.connection(of_user(user_id)) as connection:
        await connection.execute("UPDATE idempotency_keys SET created_at = now() - %s", (store.KEEP,))


@pytest.mark.parametrize("body", [b"{}", b"another"])
async def test_a_key_can_be_used_again_after_a_day(database: AsyncDatabase, identity: Identity, body: bytes) -> None:
    first, second = Operation(Result(value="old")), Operation(Result(value="new"))
    await new_call(database).run(identity, Result, first)
    await _age_keys(database, identity.user_id)
    assert await new_call(database, body=body).run(identity, Result, second) == Result(value="new")
    assert second.resource_id not in {None, first.resource_id}


async def test_old_keys_are_deleted_and_recent_ones_are_not(
    database_url: str, database: AsyncDatabase, add_rows: AddRows, user_id: str
) -> None:
    await add_rows(user_id)
    await add_rows(f"not-{user_id}")
    await _age_keys(database, user_id)
    century = timedelta(days=36_500)
    periods = RetentionPeriods(
        source=None, output=None, job=None, upload=century, upload_grace=century, history=century
    )
    async with AsyncDatabase(database_url, max_connections=1, application="test", scope=EVERYONE) as everyones:
        assert await RowCollector(everyones, periods).run_once() >= 1
    for whose, left in ((user_id, False), (f"not-{user_id}", True)):
        async with database.connection(of_user(whose)) as connection:
            assert (await store.find(connection, user_id=whose, key="k") is not None) is left


def test_a_503_is_not_stored(settings: Settings, client: httpx.Client, running_api: Callable[[Settings], str]) -> None:
    job_id = create(client, str(uuid4())).json()["job_id"]
    headers = {"Idempotency-Key": str(uuid4()), "Authorization": client.headers["Authorization"]}
    without_objects = running_api(settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1"}))
    failed = httpx.post(f"{without_objects}/v1/jobs/{job_id}/start", headers=headers, timeout=30)
    assert (failed.status_code, failed.json()["code"]) == (503, "objects_unavailable")
    then = client.post(f"/v1/jobs/{job_id}/start", headers=headers)
    assert (then.status_code, then.json()["code"]) == (409, "source_missing")
    assert "Idempotent-Replayed" not in then.headers


def test_a_created_job_has_the_id_stored_with_the_key(
    client: httpx.Client, operator: psycopg.Connection[DictRow]
) -> None:
    key = str(uuid4())
    created = create(client, key).json()
    row = operator.execute("SELECT resource_id FROM idempotency_keys WHERE key = %s", (key,)).fetchone()
    assert row == {"resource_id": UUID(created["job_id"])}
