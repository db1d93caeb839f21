"""``Idempotency-Key``: the same request is done once and answered as often as it is asked, whatever dies in between."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from psycopg.rows import DictRow, dict_row
from tests.integration.identity.conftest import AddRows
from tests.integration.identity.http import JOB, POSTS, Route

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase, of_user
from pixelflow.contracts.errors import IdempotencyInProgressError, NotFoundError
from pixelflow.controlplane.idempotency import store
from pixelflow.controlplane.idempotency.service import KEEP, Claim, Idempotency, IdempotentRequest, StoredResponse
from pixelflow.controlplane.retention.gc import RowCollector
from pixelflow.controlplane.retention.periods import RetentionPeriods
from pixelflow.settings import Settings

NewClient = Callable[[], httpx.Client]
SECRETS_KEY = b"k" * 32


def create(client: httpx.Client, key: str, body: Any = JOB) -> httpx.Response:  # noqa: ANN401
    return client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})


@pytest.fixture
def operator(database_url: str) -> Any:  # noqa: ANN401
    with psycopg.connect(
        database_url, autocommit=True, options="-c pixelflow.tenant_scope=everyone", row_factory=dict_row
    ) as connection:
        yield connection


def test_the_same_request_again_gets_the_first_answer_and_a_fresh_url(client: httpx.Client) -> None:
    key = str(uuid4())
    first, second = create(client, key), create(client, key)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.status_code == first.status_code == 202
    uploads = [answer.json().pop("upload") for answer in (first, second)]
    assert {**first.json(), "upload": None} == {**second.json(), "upload": None}
    assert uploads[0].keys() == uploads[1].keys()
    assert httpx.put(uploads[1]["presigned_put_url"], content=b"x").status_code == 200
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_fifty_at_once_make_one_job(client: httpx.Client) -> None:
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
def test_a_key_belongs_to_its_body(client: httpx.Client, change: dict[str, Any]) -> None:
    key = str(uuid4())
    create(client, key)
    answer = create(client, key, JOB | change)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("route", POSTS, ids=str)
def test_a_key_belongs_to_its_route_on_every_post(client: httpx.Client, route: Route) -> None:
    key = str(uuid4())
    first = create(client, key, JOB | {"metadata": {"other": "than the route's own"}})
    assert first.status_code == 202
    answer = route.send(client, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("route", POSTS, ids=str)
def test_a_key_that_cannot_be_is_refused_on_every_post(client: httpx.Client, route: Route) -> None:
    for key in ("", "a b", "a" * 256, "clé".encode()):
        answer = route.send(client, headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid"), key


def test_two_keys_at_once_are_refused(client: httpx.Client) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert client.post("/v1/jobs", json=JOB, headers=headers).json()["code"] == "idempotency_key_invalid"


@pytest.mark.parametrize("route", POSTS, ids=str)
def test_every_post_answers_the_same_again(client: httpx.Client, route: Route) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    ids = {"job_id": str(uuid4()), "delivery_id": str(uuid4())}
    first, second = (route.send(client, ids, headers=key) for _ in range(2))
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.status_code == first.status_code
    fresh = {"upload", "request_id"}
    assert {**first.json(), **dict.fromkeys(fresh)} == {**second.json(), **dict.fromkeys(fresh)}


def test_a_kept_refusal_stays_what_it_was(client: httpx.Client) -> None:
    job_id = create(client, str(uuid4())).json()["job_id"]
    key = {"Idempotency-Key": str(uuid4())}
    first, second = (client.post(f"/v1/jobs/{job_id}/start", headers=key) for _ in range(2))
    assert (first.status_code, first.json()["code"]) == (409, "source_missing")
    assert second.json()["request_id"] == second.headers["X-Request-ID"] != first.json()["request_id"]
    assert second.headers["Content-Type"] == "application/problem+json"


def test_what_is_refused_unread_leaves_the_key_unused(client: httpx.Client) -> None:
    key = str(uuid4())
    assert create(client, key, {"pipeline": []}).status_code == 422
    with httpx.Client(base_url=client.base_url) as nobody:
        assert create(nobody, key).status_code == 401
    assert create(client, key).status_code == 202


def test_two_users_keys_are_two(new_client: NewClient) -> None:
    one, other = (create(new_client(), "the-same-key").json()["job_id"] for _ in range(2))
    assert one != other


def test_a_secret_is_shown_again_but_not_kept_readable(
    client: httpx.Client, operator: psycopg.Connection[DictRow]
) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    first, second = (
        client.post("/v1/keys", json={"name": "n", "scopes": ["jobs:read"]}, headers=headers).json() for _ in range(2)
    )
    assert first == second
    row = operator.execute("SELECT * FROM idempotency_keys WHERE key = %s", (headers["Idempotency-Key"],)).fetchone()
    assert row is not None
    assert first["key"].encode() not in row["sealed"]
    assert first["key_id"].encode() not in row["sealed"]


def test_after_a_crash_the_same_job_is_found_not_made_again(
    client: httpx.Client, operator: psycopg.Connection[DictRow]
) -> None:
    """The API died after it had kept the job and before it had kept the answer."""
    key = str(uuid4())
    first = create(client, key)
    operator.execute(
        "UPDATE idempotency_keys SET status = NULL, sealed = NULL, lease_until = now() + '1 min' WHERE key = %s", (key,)
    )
    waiting = create(client, key)
    assert (waiting.status_code, waiting.json()["code"]) == (409, "idempotency_in_progress")
    operator.execute("UPDATE idempotency_keys SET lease_until = now() WHERE key = %s", (key,))
    assert create(client, key, JOB | {"metadata": {"a": "b"}}).json()["code"] == "idempotency_key_reused"
    again = create(client, key)
    assert "Idempotent-Replayed" not in again.headers
    assert again.json()["job_id"] == first.json()["job_id"]
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_after_a_crash_a_key_that_nobody_saw_is_replaced(
    client: httpx.Client, operator: psycopg.Connection[DictRow]
) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    body = {"name": "n", "scopes": ["jobs:read"]}
    lost = client.post("/v1/keys", json=body, headers=headers).json()
    operator.execute(
        "UPDATE idempotency_keys SET status = NULL, sealed = NULL, lease_until = now() WHERE key = %s",
        (headers["Idempotency-Key"],),
    )
    again = client.post("/v1/keys", json=body, headers=headers).json()
    assert again["key_id"] == lost["key_id"]
    statuses = [
        client.get("/v1/jobs", headers={"Authorization": f"Bearer {key['key']}"}).status_code for key in (lost, again)
    ]
    assert statuses == [401, 200]


@pytest.mark.parametrize("replayed", ["create", "cancel"])
def test_an_erased_jobs_kept_answers_are_gone_and_nothing_is_done_again(
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
    [row] = operator.execute("SELECT sealed FROM idempotency_keys WHERE key = %s", (*keys[replayed].values(),))
    assert row["sealed"] is None


async def test_an_answer_that_comes_after_the_erasure_is_not_kept(database: AsyncDatabase, user_id: str) -> None:
    job_id = uuid4()
    asked = IdempotentRequest(user_id=user_id, key="k", fingerprint=b"f", job_id=job_id)
    begun = await _idempotency(database).begin(asked)
    assert isinstance(begun, Claim)
    async with database.connection(of_user(user_id)) as connection:
        await store.forget_job(connection, user_id=user_id, job_id=job_id)
    await _idempotency(database).finish(asked, begun, StoredResponse(200, b"a person"))
    with pytest.raises(NotFoundError):
        await _idempotency(database, timedelta(0)).begin(asked)


def _idempotency(database: AsyncDatabase, lease: timedelta = timedelta(minutes=1)) -> Idempotency:
    return Idempotency(database, SECRETS_KEY, new_id=new_id, lease=lease)


def _asked(user_id: str) -> IdempotentRequest:
    return IdempotentRequest(user_id=user_id, key="k", fingerprint=b"f")


async def test_whoever_was_taken_for_dead_does_not_overwrite_the_answer(database: AsyncDatabase, user_id: str) -> None:
    asked, gone = _asked(user_id), timedelta(0)
    slow = await _idempotency(database, gone).begin(asked)
    fast = await _idempotency(database).begin(asked)
    assert isinstance(slow, Claim)
    assert isinstance(fast, Claim)
    assert fast.resource_id == slow.resource_id
    keeper = _idempotency(database)
    await keeper.release(asked, slow)
    with pytest.raises(IdempotencyInProgressError):
        await keeper.begin(asked)
    await keeper.finish(asked, fast, StoredResponse(200, b"fast"))
    await keeper.finish(asked, slow, StoredResponse(200, b"slow"))
    assert await keeper.begin(asked) == StoredResponse(200, b"fast")


async def test_a_failure_of_ours_is_not_kept_but_its_id_is(database: AsyncDatabase, user_id: str) -> None:
    keeper, asked = _idempotency(database), _asked(user_id)
    first = await keeper.begin(asked)
    assert isinstance(first, Claim)
    await keeper.release(asked, first)
    second = await keeper.begin(asked)
    assert isinstance(second, Claim)
    assert (second.resource_id, second.holder == first.holder) == (first.resource_id, False)


async def _grow_old(database: AsyncDatabase, user_id: str) -> None:
    async with database.connection(of_user(user_id)) as connection:
        await connection.execute("UPDATE idempotency_keys SET created_at = now() - %s", (KEEP,))


@pytest.mark.parametrize("fingerprint", [b"f", b"another"])
async def test_a_key_is_free_again_after_a_day(database: AsyncDatabase, user_id: str, fingerprint: bytes) -> None:
    keeper, asked = _idempotency(database), _asked(user_id)
    first = await keeper.begin(asked)
    assert isinstance(first, Claim)
    await keeper.finish(asked, first, StoredResponse(200, b"old"))
    await _grow_old(database, user_id)
    second = await keeper.begin(IdempotentRequest(user_id, "k", fingerprint))
    assert isinstance(second, Claim)
    assert second.resource_id != first.resource_id


async def test_only_old_keys_are_deleted(
    database_url: str, database: AsyncDatabase, add_rows: AddRows, user_id: str
) -> None:
    await add_rows(user_id)
    await add_rows(f"not-{user_id}")
    await _grow_old(database, user_id)
    century = timedelta(days=36_500)
    periods = RetentionPeriods(source=None, output=None, job=None, upload=century, history=century)
    async with AsyncDatabase(database_url, max_connections=1, application="test", scope=EVERYONE) as everyones:
        assert await RowCollector(everyones, periods).run_once() >= 1
    for whose, left in ((user_id, False), (f"not-{user_id}", True)):
        async with database.connection(of_user(whose)) as connection:
            assert (await store.find(connection, user_id=whose, key="k") is not None) is left


def test_an_answer_of_a_failing_server_is_not_kept(
    settings: Settings, client: httpx.Client, running_api: Callable[[Settings], str]
) -> None:
    job_id = create(client, str(uuid4())).json()["job_id"]
    headers = {"Idempotency-Key": str(uuid4()), "Authorization": client.headers["Authorization"]}
    without_objects = running_api(settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1"}))
    failed = httpx.post(f"{without_objects}/v1/jobs/{job_id}/start", headers=headers, timeout=30)
    assert (failed.status_code, failed.json()["code"]) == (503, "objects_unavailable")
    then = client.post(f"/v1/jobs/{job_id}/start", headers=headers)
    assert (then.status_code, then.json()["code"]) == (409, "source_missing")
    assert "Idempotent-Replayed" not in then.headers


def test_what_is_created_has_the_id_that_was_kept_for_it(
    client: httpx.Client, operator: psycopg.Connection[DictRow]
) -> None:
    key = str(uuid4())
    created = create(client, key).json()
    row = operator.execute("SELECT resource_id FROM idempotency_keys WHERE key = %s", (key,)).fetchone()
    assert row == {"resource_id": UUID(created["job_id"])}
