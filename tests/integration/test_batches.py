"""Batches through the API: what becomes of sources, repetitions, reruns of presets and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import httpx
import pytest
from psycopg.types.json import Jsonb
from tests.integration.identity.conftest import serving
from tests.integration.job_rows import put
from tests.support.waiting import eventually

from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.controlplane.batches import store
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.settings import Settings

STEPS: list[dict[str, Any]] = [{"id": "a", "action": "resize", "width": "${size}", "format": "webp"}]
SIZE = {"size": {"type": "integer", "default": 320}}
NOW = datetime(2026, 11, 23, tzinfo=UTC)
PLAIN: list[dict[str, Any]] = [{"id": "a", "action": "resize", "width": 9, "format": "webp"}]


@pytest.fixture(scope="module")
def api(quiet: Settings) -> Iterator[str]:
    with serving(quiet.model_copy(update={"rate_limit_enabled": False, "url_sources": True})) as url:
        yield url


@pytest.fixture
def user_id() -> str:
    return f"user-{uuid4()}"


@pytest.fixture
def http(api: str, quiet: Settings, user_id: str) -> Iterator[httpx.Client]:
    key = issue_key(quiet.database_url.get_secret_value(), user_id=user_id, name="test")
    with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
        yield client


class Photos:
    """Earlier jobs of a user, whose sources are in storage."""

    def __init__(self, http: httpx.Client, connection: Connection, user_id: str) -> None:
        self._http, self._connection, self._user_id = http, connection, user_id

    def add(self, *, preset: tuple[str, int] | None = None, **columns: Any) -> UUID:  # noqa: ANN401
        created = self._http.post("/v1/jobs", json={"source": {"content_length": 3}, "pipeline": PLAIN}).json()
        upload = created["upload"]
        httpx.put(upload["presigned_put_url"], content=b"abc", headers=upload["headers"]).raise_for_status()
        if preset:
            columns |= {"preset": preset[0], "preset_version": preset[1]}
        values: Any = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in columns.items()}
        return put(
            self._connection,
            "succeeded",
            user_id=self._user_id,
            source_key=upload["object_key"],
            queued_at=NOW,
            **values,
        )


@pytest.fixture
def photos(http: httpx.Client, connection: Connection, user_id: str) -> Photos:
    return Photos(http, connection, user_id)


def save(http: httpx.Client, width: object = "${size}") -> None:
    body = {"name": "avatar", "pipeline": [STEPS[0] | {"width": width}]}
    answer = http.post("/v1/presets", json=body | ({"parameters": SIZE} if width == "${size}" else {}))
    assert answer.status_code == 201, answer.text


def until(look: Callable[[], Any]) -> Any:  # noqa: ANN401 - any result
    """Return the first true result."""
    return eventually(look)


def jobs_of(http: httpx.Client, batch_id: str) -> list[dict[str, Any]]:
    return list(http.get("/v1/jobs", params={"batch": batch_id, "limit": 100}).json()["data"])


def test_each_source_becomes_a_started_job_with_its_metadata(http: httpx.Client, photos: Photos) -> None:
    first, second = photos.add(), photos.add()
    body = {
        "name": "cards",
        "pipeline": PLAIN,
        "priority": "low",
        "metadata": {"shop": "main"},
        "sources": [
            {"source": {"job": str(first)}, "metadata": {"sku": "1"}},
            {"source": {"job": str(second), "frame": 1}},
            {"source": {"job": str(uuid4())}},
        ],
    }
    answer = http.post("/v1/batches", json=body)
    assert answer.status_code == 201, answer.text
    batch = answer.json()
    assert (batch["name"], batch["total"], batch["percent"], batch["jobs"]["queued"]) == ("cards", 2, 0, 2)
    assert [(row["index"], row["code"]) for row in batch["refused"]] == [(2, "not_found")]
    second_job, first_job = jobs_of(http, batch["batch_id"])
    assert (first_job["status"], first_job["batch_id"]) == ("queued", batch["batch_id"])
    assert first_job["metadata"] == {"shop": "main", "sku": "1"}
    assert (first_job["source"]["job_id"], second_job["source"]["job_id"]) == (str(first), str(second))
    assert (second_job["source"]["options"], second_job["priority"]) == ({"frame": 1}, "low")


def test_the_same_source_is_one_job_however_often_it_is_sent(http: httpx.Client, photos: Photos) -> None:
    source = {"source": {"job": str(photos.add())}, "metadata": {"sku": "1"}}
    batch_id = http.post("/v1/batches", json={"pipeline": PLAIN, "sources": [source, source]}).json()["batch_id"]
    again = http.post(f"/v1/batches/{batch_id}/jobs", json={"sources": [source]}).json()
    assert (again["accepted"], again["refused"]) == (1, [])
    other = http.post(f"/v1/batches/{batch_id}/jobs", json={"sources": [source | {"metadata": {"sku": "2"}}]}).json()
    assert other["accepted"] == 1
    assert http.get(f"/v1/batches/{batch_id}").json()["total"] == 2


def test_an_interrupted_request_is_completed_by_the_same_request(
    http: httpx.Client, photos: Photos, connection: Connection, user_id: str
) -> None:
    """As after a crash: the batch and the first job exist, and the key is still claimed by nobody."""
    sources = [{"source": {"job": str(photos.add())}} for _ in range(3)]
    body = {"pipeline": PLAIN, "sources": sources}
    key = {"Idempotency-Key": "k-1"}
    first = http.post("/v1/batches", json=body, headers=key).json()
    kept = jobs_of(http, first["batch_id"])[-1]["job_id"]
    connection.execute("DELETE FROM job_queue WHERE user_id = %s AND job_id <> %s", (user_id, kept))
    connection.execute(
        "DELETE FROM jobs WHERE user_id = %s AND batch_id = %s AND job_id <> %s", (user_id, first["batch_id"], kept)
    )
    connection.execute(
        "UPDATE idempotency_keys SET status = NULL, ciphertext = NULL, lease_until = now() WHERE user_id = %s",
        (user_id,),
    )
    repeated = http.post("/v1/batches", json=body, headers=key)
    assert repeated.status_code == 201, repeated.text
    assert (repeated.json()["batch_id"], repeated.json()["total"]) == (first["batch_id"], 3)
    assert kept in {job["job_id"] for job in jobs_of(http, first["batch_id"])}


def test_a_preset_is_run_again_with_the_metadata_and_parameters_of_each_job(http: httpx.Client, photos: Photos) -> None:
    save(http)
    save(http, 64)
    save(http)
    small = photos.add(preset=("avatar", 1), metadata={"sku": "1"}, preset_parameters={"size": 100})
    large = photos.add(
        preset=("avatar", 1), metadata={"sku": "2", "run": "1"}, preset_parameters={"size": 200, "gone": 1}
    )
    photos.add(preset=("avatar", 2))
    batch = http.post("/v1/batches", json={"preset": "avatar", "metadata": {"run": "2"}}).json()
    assert (batch["preset"], batch["total"], batch["percent"]) == ("avatar@3", 0, 100)
    path, body = f"/v1/batches/{batch['batch_id']}/jobs", {"rerun": {"preset": "avatar@1"}}
    added = http.post(path, json=body).json()
    assert (added["accepted"], added["refused"], added["next_cursor"]) == (2, [], None)
    assert http.post(path, json=body).json()["accepted"] == 2
    made = {job["source"]["job_id"]: job for job in jobs_of(http, batch["batch_id"])}
    assert set(made) == {str(small), str(large)}
    assert [made[str(job)]["metadata"] for job in (small, large)] == [
        {"sku": "1", "run": "2"},
        {"sku": "2", "run": "2"},
    ]
    assert [made[str(job)]["pipeline"][0]["width"] for job in (small, large)] == [100, 200]
    assert {job["preset"]["version"] for job in made.values()} == {3}


def test_jobs_of_different_urls_are_run_again_one_by_one(
    http: httpx.Client, connection: Connection, user_id: str
) -> None:
    save(http, 64)
    urls = [f"https://img.example/{number}.jpg?token=1" for number in range(3)]
    for url in [*urls, urls[0]]:
        of_url: dict[str, Any] = {"source_type": "url", "source_key": "", "source_url": url, "queued_at": NOW}
        put(connection, "succeeded", user_id=user_id, preset="avatar", preset_version=1, **of_url)
    batch_id = http.post("/v1/batches", json={"preset": "avatar"}).json()["batch_id"]
    added = http.post(f"/v1/batches/{batch_id}/jobs", json={"rerun": {"preset": "avatar@1"}}).json()
    assert (added["accepted"], added["refused"]) == (4, [])
    assert sorted(job["source"]["url"] for job in jobs_of(http, batch_id)) == [url.partition("?")[0] for url in urls]


def test_a_rerun_that_an_upgrade_interrupts_makes_no_job_twice(
    http: httpx.Client, connection: Connection, user_id: str
) -> None:
    """The IDs of jobs whose source is in no bucket are those that earlier releases made, which had no buckets."""
    save(http, 64)
    of_url: dict[str, Any] = {"source_type": "url", "source_key": "", "source_url": "https://img.example/1.jpg"}
    put(connection, "succeeded", user_id=user_id, preset="avatar", preset_version=1, queued_at=NOW, **of_url)
    batch_id = http.post("/v1/batches", json={"preset": "avatar"}).json()["batch_id"]
    http.post(f"/v1/batches/{batch_id}/jobs", json={"rerun": {"preset": "avatar@1"}}).raise_for_status()
    expected = uuid5(UUID(batch_id), '["", "https://img.example/1.jpg", {}, {}, {}]')
    assert [job["job_id"] for job in jobs_of(http, batch_id)] == [str(expected)]


def test_a_rerun_continues_page_by_page_and_names_sources_that_have_expired(
    http: httpx.Client, photos: Photos, connection: Connection
) -> None:
    save(http, 64)
    jobs = [photos.add(preset=("avatar", 1), metadata={"n": str(n)}) for n in range(3)]
    connection.execute("UPDATE jobs SET source_expired_at = now() WHERE job_id = %s", (jobs[1],))
    # 120 more jobs with the source of the first one, so that there are two pages.
    connection.execute(
        """INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, max_attempts, metadata, preset,
                             preset_version, queued_at, finished_at)
           SELECT gen_random_uuid(), user_id, status, source_type, source_key, pipeline, max_attempts,
                  jsonb_build_object('n', (n + 3)::text), preset, preset_version, queued_at, finished_at
           FROM jobs CROSS JOIN generate_series(1, 120) AS n WHERE job_id = %s""",
        (jobs[0],),
    )
    batch_id = http.post("/v1/batches", json={"preset": "avatar"}).json()["batch_id"]
    cursor, accepted, refused = None, 0, list[Any]()
    for page in range(2):
        rerun = {"preset": "avatar@1", "cursor": cursor}
        added = http.post(f"/v1/batches/{batch_id}/jobs", json={"rerun": rerun}).json()
        cursor, accepted, refused = added["next_cursor"], accepted + added["accepted"], refused + added["refused"]
        assert (cursor is None) == (page == 1)
    assert (accepted, [(row["job_id"], row["code"]) for row in refused]) == (122, [(str(jobs[1]), "source_missing")])
    assert http.get(f"/v1/batches/{batch_id}").json()["total"] == 122


def test_a_source_whose_file_is_gone_leaves_no_job(http: httpx.Client, connection: Connection, user_id: str) -> None:
    gone = put(connection, "succeeded", user_id=user_id, source_key=f"uploads/{uuid4()}/source", queued_at=NOW)
    batch = http.post("/v1/batches", json={"pipeline": PLAIN, "sources": [{"source": {"job": str(gone)}}]}).json()
    assert [row["code"] for row in batch["refused"]] == ["source_missing"]
    assert jobs_of(http, batch["batch_id"]) == []
    again = http.post(f"/v1/batches/{batch['batch_id']}/jobs", json={"sources": [{"source": {"job": str(gone)}}]})
    assert ["was refused or erased" in row["detail"] for row in again.json()["refused"]] == [True]


def test_cancel_stops_unfinished_jobs_and_the_batch_takes_no_more(http: httpx.Client, photos: Photos) -> None:
    source = {"source": {"job": str(photos.add())}}
    batch_id = http.post("/v1/batches", json={"pipeline": PLAIN, "sources": [source]}).json()["batch_id"]
    canceled = http.post(f"/v1/batches/{batch_id}/cancel").json()
    assert (canceled["jobs"]["canceled"], canceled["percent"], canceled["canceled_at"] is None) == (1, 100, False)
    assert canceled["closed_at"] == canceled["canceled_at"]
    refused = http.post(f"/v1/batches/{batch_id}/jobs", json={"sources": [source]})
    assert (refused.status_code, refused.json()["code"]) == (409, "batch_canceled")


def test_a_request_that_adds_jobs_while_the_batch_is_canceled_leaves_none_running(
    http: httpx.Client, photos: Photos
) -> None:
    batch_id = http.post("/v1/batches", json={"pipeline": PLAIN}).json()["batch_id"]
    photo = str(photos.add())
    sources = [{"source": {"job": photo}, "metadata": {"n": str(number)}} for number in range(200)]
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(http.post, f"/v1/batches/{batch_id}/jobs", json={"sources": sources})
        until(lambda: http.get(f"/v1/batches/{batch_id}").json()["total"])
        http.post(f"/v1/batches/{batch_id}/cancel")
        added = adding.result().json()
    batch = http.get(f"/v1/batches/{batch_id}").json()
    assert batch["jobs"]["canceled"] == batch["total"] < len(sources)
    assert {row["code"] for row in added["refused"]} == {"batch_canceled"}
    assert len(added["refused"]) + added["accepted"] == len(sources)


def test_a_closed_batch_takes_no_more_jobs_and_repeated_requests_answer_as_before(
    http: httpx.Client, photos: Photos
) -> None:
    first, second, new = ({"source": {"job": str(photos.add())}} for _ in range(3))
    created = http.post("/v1/batches", json={"pipeline": PLAIN, "sources": [first]}).json()
    assert (created["closed_at"], created["finished_at"]) == (None, None)
    path = f"/v1/batches/{created['batch_id']}"
    last = {"sources": [second, {"source": {"job": str(uuid4())}}], "close": True}
    added = http.post(f"{path}/jobs", json=last).json()
    assert (added["accepted"], [row["code"] for row in added["refused"]]) == (1, ["not_found"])
    assert http.post(f"{path}/jobs", json=last).json() == added
    refused = http.post(f"{path}/jobs", json={"sources": [new]})
    assert (refused.status_code, refused.json()["code"]) == (409, "batch_closed")
    closed = http.get(path).json()
    assert (closed["total"], closed["closed_at"] is None) == (2, False)
    assert http.post(f"{path}/close").json() == closed
    assert http.post(f"/v1/batches/{uuid4()}/close").status_code == 404


def test_a_repeated_request_that_closes_answers_as_before_although_a_source_is_usable_now(
    http: httpx.Client, photos: Photos, connection: Connection
) -> None:
    usable, waiting = photos.add(), photos.add()
    connection.execute("UPDATE jobs SET source_expired_at = now() WHERE job_id = %s", (waiting,))
    path = f"/v1/batches/{http.post('/v1/batches', json={'pipeline': PLAIN}).json()['batch_id']}/jobs"
    last = {"sources": [{"source": {"job": str(each)}} for each in (usable, waiting)], "close": True}
    first = http.post(path, json=last).json()
    assert (first["accepted"], len(first["refused"])) == (1, 1)
    connection.execute("UPDATE jobs SET source_expired_at = NULL WHERE job_id = %s", (waiting,))
    again = http.post(path, json=last).json()
    assert (again["accepted"], [row["code"] for row in again["refused"]]) == (1, ["batch_closed"])


def test_a_request_can_be_repeated_when_the_batch_has_as_many_jobs_as_it_may(
    http: httpx.Client, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelflow.controlplane.batches.service.MAX_JOBS", 2)
    path = f"/v1/batches/{http.post('/v1/batches', json={'pipeline': PLAIN}).json()['batch_id']}/jobs"
    sources = [{"source": {"job": str(photos.add())}} for _ in range(3)]
    answers = [http.post(path, json={"sources": sources[:2]}).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["accepted"] == 2
    assert http.post(path, json={"sources": sources[1:]}).status_code == 422


def test_a_rerun_closes_the_batch_after_the_last_page(
    http: httpx.Client, photos: Photos, connection: Connection
) -> None:
    save(http, 64)
    job_id = photos.add(preset=("avatar", 1), metadata={"n": "0"})
    connection.execute(
        """INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, max_attempts, metadata, preset,
                             preset_version, queued_at, finished_at)
           SELECT gen_random_uuid(), user_id, status, source_type, source_key, pipeline, max_attempts,
                  jsonb_build_object('n', n::text), preset, preset_version, queued_at, finished_at
           FROM jobs CROSS JOIN generate_series(1, 100) AS n WHERE job_id = %s""",
        (job_id,),
    )
    path = f"/v1/batches/{http.post('/v1/batches', json={'preset': 'avatar'}).json()['batch_id']}"
    cursor = None
    for is_last in (False, True):
        body = {"rerun": {"preset": "avatar@1", "cursor": cursor}, "close": True}
        cursor = http.post(f"{path}/jobs", json=body).json()["next_cursor"]
        assert ((cursor is None), http.get(path).json()["closed_at"] is not None) == (is_last, is_last)


def test_an_empty_batch_is_closed_by_the_request_that_creates_it(http: httpx.Client) -> None:
    body = {"pipeline": PLAIN, "close": True}
    first, again = (http.post("/v1/batches", json=body, headers={"Idempotency-Key": "k"}).json() for _ in range(2))
    assert (first == again, first["total"], first["closed_at"] is None) == (True, 0, False)
    assert http.post("/v1/batches", json={"pipeline": PLAIN, "close": 1}).status_code == 422


def test_a_deleted_batch_leaves_its_jobs(http: httpx.Client, photos: Photos) -> None:
    sources = [{"source": {"job": str(photos.add())}}]
    batch_id = http.post("/v1/batches", json={"pipeline": PLAIN, "sources": sources}).json()["batch_id"]
    assert http.delete(f"/v1/batches/{batch_id}").status_code == 204
    assert http.get(f"/v1/batches/{batch_id}").status_code == 404
    assert http.delete(f"/v1/batches/{batch_id}").json()["code"] == "not_found"
    assert len(jobs_of(http, batch_id)) == 1


async def test_old_batches_without_jobs_are_deleted(
    http: httpx.Client, photos: Photos, async_database: AsyncDatabase
) -> None:
    def make() -> list[str]:
        sources = [{"source": {"job": str(photos.add())}}]
        bodies = ({"pipeline": PLAIN, "sources": sources}, {"pipeline": PLAIN})
        return [http.post("/v1/batches", json=body).json()["batch_id"] for body in bodies]

    def statuses(batch_ids: list[str]) -> list[int]:
        return [http.get(f"/v1/batches/{each}").status_code for each in batch_ids]

    with_jobs_and_empty = await asyncio.to_thread(make)
    async with async_database.connection() as connection:
        await store.delete_old(connection, age=timedelta(hours=1), limit=1000)
        assert await asyncio.to_thread(statuses, with_jobs_and_empty) == [200, 200]
        await store.delete_old(connection, age=timedelta(0), limit=1000)
    assert await asyncio.to_thread(statuses, with_jobs_and_empty) == [200, 404]


def test_batches_are_listed_newest_first_page_by_page(http: httpx.Client) -> None:
    ids = [http.post("/v1/batches", json={"pipeline": PLAIN}).json()["batch_id"] for _ in range(3)]
    page = http.get("/v1/batches", params={"limit": 2}).json()
    rest = http.get("/v1/batches", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [row["batch_id"] for row in page["data"] + rest["data"]] == ids[::-1]
    assert rest["next_cursor"] is None


def test_other_users_have_no_access(http: httpx.Client, api: str, quiet: Settings, photos: Photos) -> None:
    batch_id = http.post("/v1/batches", json={"pipeline": PLAIN}).json()["batch_id"]
    source = {"source": {"job": str(photos.add())}}
    key = issue_key(quiet.database_url.get_secret_value(), user_id=f"user-{uuid4()}", name="test")
    with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {key}"}) as other:
        assert other.get(f"/v1/batches/{batch_id}").status_code == 404
        assert other.post(f"/v1/batches/{batch_id}/cancel").status_code == 404
        assert other.post(f"/v1/batches/{batch_id}/jobs", json={"sources": [source]}).status_code == 404
        assert other.get("/v1/batches").json()["data"] == []
        made = other.post("/v1/batches", json={"pipeline": PLAIN, "sources": [source]}).json()
        assert [row["code"] for row in made["refused"]] == ["not_found"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"pipeline": None}, "/pipeline"),
        ({"preset": "avatar"}, "/preset"),
        ({"sources": [{"source": {"content_length": 9}}]}, "/sources/0/source"),
        ({"sources": [{"source": {}}]}, "/sources/0/source"),
        ({"sources": [{}]}, "/sources/0/source"),
        ({"sources": [{"source": {"job": "x"}}]}, "/sources/0/source/job"),
        ({"sources": [{"source": {"job": str(uuid4())}}] * 201}, "/sources"),
        ({"webhook_url": "ftp://client.example"}, "/webhook_url"),
        ({"name": ""}, "/name"),
        ({"destination": {"bucket": "shop", "key": "{step}"}}, "/destination/bucket"),
    ],
)
def test_an_invalid_batch_is_refused(http: httpx.Client, changes: dict[str, Any], pointer: str) -> None:
    body = {name: value for name, value in ({"pipeline": PLAIN} | changes).items() if value is not None}
    answer = http.post("/v1/batches", json=body)
    assert (answer.status_code, pointer in {error["pointer"] for error in answer.json()["errors"]}) == (422, True), (
        answer.text
    )


SKU_KEY = {"bucket": "public", "key": "{metadata.sku}/{step}.{ext}"}


@pytest.mark.parametrize("chosen", [{"pipeline": PLAIN}, {"preset": "card"}])
def test_the_metadata_of_a_source_is_part_of_the_destinations_key(
    http: httpx.Client, photos: Photos, chosen: dict[str, Any]
) -> None:
    if "preset" in chosen:
        http.post("/v1/presets", json={"name": "card", "pipeline": PLAIN}).raise_for_status()
    job_id = str(photos.add())
    sources = [{"source": {"job": job_id}, "metadata": {"sku": sku}} for sku in ("A-17", "A/18")]
    sources.append({"source": {"job": job_id}, "metadata": {}})
    made = http.post("/v1/batches", json={**chosen, "destination": SKU_KEY, "sources": sources})
    assert made.status_code == 201, made.text
    assert [(row["index"], row["code"]) for row in made.json()["refused"]] == [
        (1, "validation_failed"), (2, "validation_failed")
    ]  # fmt: skip
    assert made.json()["refused"][1]["detail"] == "`/metadata/sku` is required: the key of the destination has it"
    empty = http.post("/v1/batches", json={**chosen, "destination": SKU_KEY})
    added = http.post(f"/v1/batches/{empty.json()['batch_id']}/jobs", json={"sources": sources[:1]})
    assert (empty.status_code, added.json()["accepted"]) == (201, 1), added.text


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"metadata": {"sku": "a/b"}}, "/metadata/sku"),
        (
            {"pipeline": [*PLAIN, PLAIN[0] | {"id": "b"}], "destination": SKU_KEY | {"key": "x.{ext}"}},
            "/destination/key",
        ),
    ],
)
def test_a_destination_that_fits_no_source_is_refused_with_the_batch(
    http: httpx.Client, photos: Photos, changes: dict[str, Any], pointer: str
) -> None:
    body = {"pipeline": PLAIN, "destination": SKU_KEY, "sources": [{"source": {"job": str(photos.add())}}], **changes}
    answer = http.post("/v1/batches", json=body)
    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [pointer])


@pytest.mark.parametrize("body", [{}, {"sources": []}, {"rerun": {"preset": "avatar", "cursor": "x"}}])
def test_an_addition_without_jobs_is_refused(http: httpx.Client, body: dict[str, Any]) -> None:
    batch_id = http.post("/v1/batches", json={"pipeline": PLAIN}).json()["batch_id"]
    assert http.post(f"/v1/batches/{batch_id}/jobs", json=body).status_code == 422
