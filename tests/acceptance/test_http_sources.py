"""Sources that are there already, through the HTTP API, the SDK and the command line."""

from __future__ import annotations

import hashlib
import time

import httpx
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.support.waiting import assert_within

from pixelflow.client import Client, JobSource


def test_a_photo_is_processed_again_without_an_upload(client: httpx.Client) -> None:
    photo = pictures.photo()
    first = steps.done(client, photo, steps.resize(format="webp"))
    with Client(str(client.base_url), client.headers["Authorization"].removeprefix("Bearer ")) as pixelflow:
        again = pixelflow.process(JobSource(first["job_id"]), [steps.resize("tiny", width=30)])
        of_output = pixelflow.process(JobSource(first["job_id"], "small"), [steps.resize("tiny", width=20)])
    assert again.source.sha256 == hashlib.sha256(photo).hexdigest()
    assert (again.source.job_id, again.outputs[0].width) == (of_output.source.job_id, 30)
    assert str(again.source.job_id) == first["job_id"]
    assert of_output.source.sha256 == first["outputs"][0]["sha256"]
    assert (of_output.source.format, of_output.outputs[0].format) == ("webp", "webp")


def test_a_browser_needs_one_request_and_one_put(client: httpx.Client) -> None:
    photo = pictures.photo()
    created = steps.create(client, size=len(photo), auto_start=True)
    assert steps.show(client, created["job_id"])["auto_start"] is True
    steps.upload(created, photo)
    began = time.monotonic()
    job = steps.finished(client, created["job_id"])
    assert (job["status"], len(job["outputs"])) == ("succeeded", 1)
    assert_within(2, began)
    assert steps.start(client, created).json()["code"] == "job_already_finished"


def test_a_photo_is_processed_again_by_one_request(client: httpx.Client) -> None:
    first = steps.done(client, pictures.photo())
    body = {"source": {"job": first["job_id"]}, "pipeline": [steps.resize("tiny", width=30)], "auto_start": True}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert steps.finished(client, answer.json()["job_id"])["status"] == "succeeded"
