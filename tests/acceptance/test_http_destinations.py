"""Jobs that store their outputs in a bucket that the operator named."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
from tests.acceptance import job_steps as steps
from tests.acceptance.pictures import photo

from pixelflow.adapters.storage.signatures import AccessKey, Signer
from pixelflow.devstack.stack import Stack

FOREVER = "public, max-age=31536000, immutable"
KEY = "products/{metadata.sku}/{step}-{width}.{ext}"


def _destination(**fields: object) -> dict[str, Any]:
    return {
        "destination": {"bucket": "shop", "key": KEY, "cache_control": FOREVER, "metadata": {"color": "red"}, **fields},
        "metadata": {"sku": "A 17"},
    }


def _object(service: Stack, key: str) -> httpx.Response:
    names = ("S3_ENDPOINT_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "S3_BUCKET")
    endpoint, access_key, secret, bucket = (service.environment[f"PIXELFLOW_{name}"] for name in names)
    signer = Signer(endpoint, region="us-east-1", credentials=AccessKey(access_key, secret))
    return httpx.get(signer.presign("GET", f"/{bucket}/cdn/{key}", seconds=60))


def test_outputs_are_at_their_final_url_when_the_job_succeeds(client: httpx.Client, service: Stack) -> None:
    job = steps.done(client, photo(), steps.resize(format="webp"), **_destination())
    assert job["status"] == "succeeded", job["error"]
    (output,) = job["outputs"]
    key = output["destination_key"]
    assert key.partition("/")[2] == "products/A 17/small-60.webp", "in the user's folder"
    assert output["url"] == f"https://img.example/cdn/{quote(key)}"
    assert job["destination"]["key"] == KEY
    assert "resolved" not in str(job)
    found = _object(service, key)
    assert found.content == steps.download(output).content
    assert (found.headers["content-type"], found.headers["x-amz-meta-color"]) == ("image/webp", "red")
    # What the user has elsewhere stays: PixelFlow deletes its own copy.
    assert client.delete(f"/v1/jobs/{job['job_id']}").status_code == 204
    assert _object(service, key).status_code == 200


def test_the_final_url_of_the_stack_s_own_bucket_opens_without_a_key(client: httpx.Client, service: Stack) -> None:
    destination = {"bucket": "public", "key": "{metadata.sku}/{step}-{sha256}.{ext}"}
    job = steps.done(client, photo(), steps.resize(format="webp"), destination=destination, metadata={"sku": "A-17"})
    assert job["status"] == "succeeded", job["error"]
    (output,) = job["outputs"]
    assert output["url"].startswith(f"http://{service.addresses['public']}/")
    assert httpx.head(output["url"]).headers["content-length"] == str(output["bytes"])
    found = httpx.get(output["url"])
    assert (found.status_code, found.headers["content-type"]) == (200, "image/webp")
    assert found.content == steps.download(output).content
    folder = output["url"].rpartition("/")[0]
    assert httpx.get(f"{folder}/").status_code != 200, "no listing"
    assert httpx.put(output["url"], content=b"other").status_code == 405


def test_a_job_replaces_no_object_of_another_one(client: httpx.Client, service: Stack) -> None:
    first = steps.done(client, photo(), steps.resize(), **_destination())
    second = steps.done(client, photo(), steps.resize(), **_destination())
    assert (first["status"], second["status"]) == ("succeeded", "failed")
    assert (second["error"]["code"], second["outputs"], second["usage"]) == ("destination_exists", [], None)
    third = steps.done(client, photo(), steps.resize(), **_destination(overwrite=True))
    assert third["status"] == "succeeded"
    found = _object(service, third["outputs"][0]["destination_key"])
    assert found.headers["x-amz-meta-pixelflow-job"] == third["job_id"]


def test_two_users_never_have_the_same_key(client: httpx.Client, somebody: httpx.Client) -> None:
    jobs = [steps.done(each, photo(), steps.resize(), **_destination(key="same.{ext}")) for each in (client, somebody)]
    assert len({job["outputs"][0]["destination_key"] for job in jobs}) == 2


def test_a_destination_that_can_t_be_used_is_refused_at_once(client: httpx.Client) -> None:
    refused = {
        "/destination/bucket": {"bucket": "archive"},
        "/destination/acl": {"acl": "public-read"},
        "/destination/key": {"key": "../{step}"},
        "/metadata/name": {"key": "{metadata.name}/{step}"},
    }
    for pointer, fields in refused.items():
        body = {"pipeline": [steps.resize()], "source": {"content_length": 5}, **_destination(**fields)}
        answer = client.post("/v1/jobs", json=body)
        assert (answer.status_code, [each["pointer"] for each in answer.json()["errors"]]) == (422, [pointer])
