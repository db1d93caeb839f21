"""Sources that are objects in buckets that the operator named, through the HTTP API, the SDK and the command line."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.support.command_line import command_line_of
from tests.support.waiting import assert_within, eventually

from pixelflow.adapters.storage.signatures import AccessKey, Signer
from pixelflow.client import BucketSource, Client
from pixelflow.devstack.stack import Stack

OTHERS = "must start with `"


def _request(service: Stack, method: str, key: str, content: bytes = b"") -> httpx.Response:
    names = ("S3_ENDPOINT_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "S3_BUCKET")
    endpoint, access_key, secret, bucket = (service.environment[f"PIXELFLOW_{name}"] for name in names)
    signer = Signer(endpoint, region="us-east-1", credentials=AccessKey(access_key, secret))
    return httpx.request(method, signer.presign(method, f"/{bucket}/originals/{key}", seconds=60), content=content)


@pytest.fixture
def key(service: Stack) -> str:
    """Key of a photo in the bucket ``originals``."""
    key = f"photos/{uuid4()}/Straße & café #1 100%.jpg"
    _request(service, "PUT", key, pictures.photo()).raise_for_status()
    return key


def create(client: httpx.Client, source: steps.Json, **fields: object) -> httpx.Response:
    body = {"source": source, "pipeline": [steps.resize(format="webp")], "auto_start": True, **fields}
    return client.post("/v1/jobs", json=body)


def run(client: httpx.Client, source: steps.Json, **fields: object) -> steps.Json:
    """Run a job to its end, with any result."""
    answer = create(client, source, **fields)
    assert answer.status_code == 202, answer.text
    assert answer.json()["upload"]["presigned_url_state"] == "not_required"
    return steps.finished(client, answer.json()["job_id"])


def test_a_worker_reads_the_object_and_nothing_deletes_it(client: httpx.Client, service: Stack, key: str) -> None:
    job = run(client, {"bucket": "originals", "key": key})
    assert job["status"] == "succeeded", job
    source = job["source"]
    assert (source["type"], source["bucket"], source["object_key"]) == ("bucket", "originals", key)
    assert (source["bytes"], source["sha256"]) == (
        len(pictures.photo()),
        hashlib.sha256(pictures.photo()).hexdigest(),
    )
    assert steps.download(job["outputs"][0]).content
    assert client.delete(f"/v1/jobs/{job['job_id']}").status_code == 204
    assert _request(service, "GET", key).content == pictures.photo()


def test_an_object_can_be_processed_again_if_it_is_the_same(client: httpx.Client, service: Stack, key: str) -> None:
    first = run(client, {"bucket": "originals", "key": key})
    again = run(client, {"job": first["job_id"]})
    assert (again["status"], again["source"]["type"], again["source"]["object_key"]) == ("succeeded", "bucket", key)
    time.sleep(2)  # the dev stack's server has no ETags, and times in seconds
    _request(service, "PUT", key, pictures.photo(width=90)).raise_for_status()
    assert run(client, {"job": first["job_id"]})["error"]["code"] == "source_changed"


def test_a_missing_object_fails_its_job(client: httpx.Client) -> None:
    job = run(client, {"bucket": "originals", "key": "photos/none.jpg"})
    assert (job["status"], job["attempts"], job["error"]["code"]) == ("failed", 1, "source_not_found")


def test_a_user_reads_the_own_folder_of_a_bucket_and_no_other(
    new_client: Callable[[], httpx.Client],
) -> None:
    owner, other = new_client(), new_client()
    destination = {"bucket": "public", "key": "{job_id}.{ext}"}
    (output,) = steps.done(owner, pictures.photo(), steps.resize(), destination=destination)["outputs"]
    source = {"bucket": "public", "key": output["destination_key"]}
    assert run(owner, source)["status"] == "succeeded"
    refused = create(other, source)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/source/key")
    assert refused.json()["errors"][0]["message"].startswith(OTHERS)
    assert output["destination_key"].partition("/")[0] not in refused.text


@pytest.mark.parametrize("fields", [{}, {"destination": {"bucket": "silent", "key": "{job_id}.{ext}"}}], ids=str)
def test_a_silent_bucket_delays_nobody_else(
    new_client: Callable[[], httpx.Client], key: str, fields: dict[str, object]
) -> None:
    """As the bucket of the sources, or that of the destination."""
    waiting, other = new_client(), new_client()
    source = {"bucket": "originals" if fields else "silent", "key": key}
    job_ids = [create(waiting, source, **fields).json()["job_id"] for _ in range(20)]
    eventually(lambda: len(waiting.get("/v1/jobs", params={"status": "processing"}).json()["data"]) >= 3)
    began = time.monotonic()
    assert steps.done(other, pictures.photo())["status"] == "succeeded"
    assert run(other, {"bucket": "originals", "key": key})["status"] == "succeeded"
    assert_within(6, began)
    for job_id in job_ids:
        waiting.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()


@pytest.mark.parametrize(
    ("source", "pointer", "message"),
    [
        ({"bucket": "orginals", "key": "a.jpg"}, "/source/bucket", "did you mean `originals`?"),
        ({"bucket": "shop", "key": "a.jpg"}, "/source/bucket", "is not a bucket that your jobs can read sources from"),
        ({"bucket": "archive", "key": "a.jpg"}, "/source/bucket", "is not a bucket that your jobs can read sources"),
        ({"bucket": "originals", "key": "../uploads/a"}, "/source/key", "without a / at the start"),
        ({"bucket": "originals", "key": "a//b.jpg"}, "/source/key", "without a / at the start"),
        ({"bucket": "originals", "key": "/a.jpg"}, "/source/key", "without a / at the start"),
        ({"bucket": "originals", "key": "a\x00.jpg"}, "/source/key", "without a / at the start"),
        ({"bucket": "originals", "key": "é" * 513}, "/source/key", "at most 1024 bytes"),
        ({"bucket": "originals"}, "/source/key", "is required beside `bucket`"),
        ({"bucket": "originals", "key": None}, "/source/key", "is required beside `bucket`"),
        ({"key": "a.jpg"}, "/source/bucket", "is required beside `key`"),
        ({"bucket": "originals", "key": "a", "content_length": 9}, "/source/content_length", "only for an upload"),
        ({"url": "s3://originals/a.jpg"}, "/source/url", "set `bucket` and `key` instead"),
    ],
)
def test_a_source_in_a_bucket_is_checked_when_the_job_is_created(
    client: httpx.Client, source: steps.Json, pointer: str, message: str
) -> None:
    answer = create(client, source)
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert message in error["message"]


def test_a_bucket_without_outputs_is_no_destination(client: httpx.Client, key: str) -> None:
    destination = {"bucket": "originals", "key": "{job_id}/{step}.{ext}", "overwrite": True}
    answer = create(client, {"bucket": "originals", "key": key}, destination=destination)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/destination/bucket")


def test_a_batch_takes_objects_and_refuses_those_that_its_user_can_not_read(client: httpx.Client, key: str) -> None:
    sources = [{"source": {"bucket": bucket, "key": key}} for bucket in ("originals", "public")]
    answer = client.post("/v1/batches", json={"pipeline": [steps.resize()], "sources": sources})
    assert answer.status_code == 201, answer.text
    assert [(each["index"], each["code"]) for each in answer.json()["refused"]] == [(1, "validation_failed")]
    (job,) = client.get("/v1/jobs", params={"batch": answer.json()["batch_id"]}).json()["data"]
    assert steps.finished(client, job["job_id"])["status"] == "succeeded"


def test_the_sdk_processes_an_object(client: httpx.Client, key: str) -> None:
    with Client(str(client.base_url), client.headers["Authorization"].removeprefix("Bearer ")) as pixelflow:
        job = pixelflow.process(BucketSource("originals", key), [steps.resize()])
    assert (job.status, job.source.bucket, job.source.object_key) == ("succeeded", "originals", key)


def test_the_command_line_processes_an_object(client: httpx.Client, key: str, tmp_path: Path) -> None:
    out = tmp_path / "done"
    ended = command_line_of(client)("submit", f"s3://originals/{key}", "--resize", "60", "--out", out)
    assert ended.returncode == 0, ended.stderr
    assert len([*out.glob("Straße*.jpg")]) == 1
