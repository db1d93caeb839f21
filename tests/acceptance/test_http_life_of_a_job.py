"""The life of a job through the HTTP API, from its creation to its outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import database_url, usage_rows

from pixelflow.devstack.stack import Stack

FORMATS = {"jpeg": ("JPEG", "jpg"), "png": ("PNG", "png"), "webp": ("WEBP", "webp"), "avif": ("AVIF", "avif")}


@pytest.mark.parametrize("format_", FORMATS)
def test_a_photo_is_transformed_to_each_format(client: httpx.Client, format_: str) -> None:
    job = steps.done(client, pictures.photo(), steps.resize(format=format_))
    assert job["status"] == "succeeded", job["error"]
    output = job["outputs"][0]
    file = steps.download(output)
    picture = pictures.opened(file.content)
    assert (picture.format, picture.size) == (FORMATS[format_][0], (60, 40))
    assert pictures.distance(pictures.quadrants(picture), list(pictures.QUADRANTS)) < 40
    assert (output["step_id"], output["action"], output["format"]) == ("small", "resize", format_)
    assert (output["width"], output["height"], output["bytes"]) == (60, 40, len(file.content))
    assert output["sha256"] == hashlib.sha256(file.content).hexdigest()
    assert file.headers["Content-Type"] == f"image/{format_}"
    assert f'filename="small.{FORMATS[format_][1]}"' in file.headers["Content-Disposition"]


def test_a_finished_job_has_its_source_times_and_usage(client: httpx.Client) -> None:
    source = pictures.noise(400, 300)
    tree = [
        steps.resize("big", width=200),
        steps.resize("small", width=100, **{"from": "big"}),
        {"id": "marked", "action": "watermark", "from": "small", "watermark": {"text": "© Acme"}},
    ]
    job = steps.done(client, source, *tree, metadata={"sku": "A-17"}, webhook_url="https://client.example/done")
    assert job["source"] == {
        "type": "s3_presigned",
        "object_key": f"uploads/{job['job_id']}/source",
        "job_id": None,
        "output": None,
        "url": None,
        "bucket": None,
        "bytes": len(source),
        "content_type": None,
        "sha256": hashlib.sha256(source).hexdigest(),
        "format": "jpeg",
        "width": 400,
        "height": 300,
        "frames": 1,
        "options": {},
        "expired_at": None,
    }
    assert job["pipeline"] == tree
    assert job["metadata"] == {"sku": "A-17"}
    assert job["webhook_url"] == "https://client.example/done"
    times = [datetime.fromisoformat(job[f"{name}_at"]) for name in ("created", "queued", "started", "finished")]
    assert times == sorted(times)
    outputs = job["outputs"]
    assert [(output["step_id"], output["width"]) for output in outputs] == [
        ("big", 200),
        ("small", 100),
        ("marked", 100),
    ]
    assert all(output["format"] == "jpeg" for output in outputs), "the source's own, where none is asked for"
    assert (job["attempts"], job["error"]) == (1, None)
    assert job["usage"]["pixels_processed"] == 200 * 150 + 2 * 100 * 75
    assert job["usage"]["bytes_saved"] == len(source) - sum(output["bytes"] for output in outputs)
    assert job["usage"]["compute_time_ms"] >= 1


def test_a_created_job_expires_and_a_finished_one_is_kept(client: httpx.Client) -> None:
    created = steps.create(client, steps.resize())
    waiting = client.get(f"/v1/jobs/{created['job_id']}").json()
    assert datetime.fromisoformat(waiting["expires_at"]) == datetime.fromisoformat(waiting["created_at"]) + timedelta(7)
    done = steps.done(client, pictures.photo(), steps.resize())
    assert (done["expires_at"], done["outputs"][0]["expired_at"]) == (None, None)


def test_a_step_without_output_is_neither_returned_nor_billed(client: httpx.Client) -> None:
    hidden = steps.resize("hidden", width=100, output=False)
    job = steps.done(client, pictures.photo(), hidden, steps.resize("shown", **{"from": "hidden"}))
    assert [output["step_id"] for output in job["outputs"]] == ["shown"]
    assert job["usage"]["pixels_processed"] == 60 * 40


def test_outputs_that_are_larger_than_the_source_save_nothing(client: httpx.Client) -> None:
    job = steps.done(client, pictures.photo(), steps.resize(width=1000, enlarge=True, format="png"))
    assert job["outputs"][0]["width"] == 1000
    assert job["usage"]["bytes_saved"] == 0


def test_an_upload_must_match_what_was_declared(client: httpx.Client) -> None:
    source = pictures.photo()
    declared = {"content_length": len(source), "content_type": "image/jpeg"}
    created = steps.create(client, source=declared)
    target = created["upload"]
    assert (target["headers"], target["content_length"]) == ({"Content-Type": "image/jpeg"}, len(source))
    for body, content_type in ((source + b"!", "image/jpeg"), (source, "image/png")):
        refused = httpx.put(target["presigned_put_url"], content=body, headers={"Content-Type": content_type})
        assert refused.status_code == 403
    assert steps.start(client, created).json()["code"] == "source_missing"
    steps.upload(created, source)
    assert steps.start(client, created).status_code == 202
    assert steps.finished(client, created["job_id"])["status"] == "succeeded"


def test_starting_is_idempotent(client: httpx.Client, service: Stack) -> None:
    created = steps.create(client, *(steps.resize(f"s{i}", width=1200, enlarge=True, format="avif") for i in range(8)))
    steps.upload(created, pictures.photo())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: steps.start(client, created), range(8)))
    assert [answer.status_code for answer in answers] == [202] * 8
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert len({answer.json()["enqueued_at"] for answer in answers}) == 1
    assert {answer.json()["queue"] for answer in answers} == {"images"}
    job = steps.finished(client, created["job_id"])
    assert (job["status"], job["attempts"]) == ("succeeded", 1)
    assert usage_rows(database_url(service), [job["job_id"]]) == {job["job_id"]: 1}


def test_a_job_without_its_source_can_not_be_started_yet(client: httpx.Client) -> None:
    created = steps.create(client)
    answer = steps.start(client, created)
    assert (answer.status_code, answer.json()["code"]) == (409, "source_missing")
    steps.upload(created, pictures.photo())
    assert steps.start(client, created).status_code == 202


def test_a_finished_job_can_not_be_started(client: httpx.Client) -> None:
    created = steps.started(client, pictures.photo())
    steps.finished(client, created["job_id"])
    answer = steps.start(client, created)
    assert (answer.status_code, answer.json()["code"]) == (409, "job_already_finished")


def test_a_declared_source_over_the_limit_is_refused_at_once(client: httpx.Client) -> None:
    limit = steps.create(client)["upload"]["max_bytes"]
    answer = client.post("/v1/jobs", json={"pipeline": [steps.resize()], "source": {"content_length": limit + 1}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/source/content_length"


@pytest.mark.parametrize("traceparent", ["garbage", "01-" + "a" * 32 + "-" + "b" * 16 + "-01-later-version"])
def test_a_trace_header_that_can_not_be_read_is_ignored(client: httpx.Client, traceparent: str) -> None:
    """As W3C Trace Context asks (section 4.3): tracing must never get in the way of a request."""
    created = steps.create(client)
    steps.upload(created, pictures.photo())
    assert client.post(created["start_url"], headers={"traceparent": traceparent}).status_code == 202


def test_jobs_are_listed_newest_first_page_by_page(client: httpx.Client) -> None:
    made = [steps.create(client)["job_id"] for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    for expected in (2, 2, 1):
        page = client.get("/v1/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        assert len(page["data"]) == expected
        seen += [job["job_id"] for job in page["data"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert seen == made[::-1]


def test_a_job_created_between_pages_does_not_shift_them(client: httpx.Client) -> None:
    made = [steps.create(client)["job_id"] for _ in range(4)]
    first = client.get("/v1/jobs", params={"limit": 2}).json()
    steps.create(client)
    second = client.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [job["job_id"] for job in first["data"] + second["data"]] == made[::-1]


def test_jobs_are_listed_by_status(client: httpx.Client) -> None:
    waiting = steps.create(client)["job_id"]
    done = steps.done(client, pictures.photo())["job_id"]
    listed = {
        status: [job["job_id"] for job in client.get("/v1/jobs", params={"status": status}).json()["data"]]
        for status in ("created", "succeeded", "failed")
    }
    assert listed == {"created": [waiting], "succeeded": [done], "failed": []}


def test_a_listed_job_equals_the_job_itself_without_its_history(client: httpx.Client) -> None:
    job = steps.done(client, pictures.photo())
    listed = client.get("/v1/jobs").json()["data"][0]
    for each in (job, listed):
        assert steps.download(each["outputs"][0]).content
        del each["outputs"][0]["download_url"]  # signed anew each time
    assert [attempt["outcome"] for attempt in job["history"]] == ["succeeded"]
    assert listed == {**job, "history": None}


def test_every_route_hides_another_user_s_job(new_client: Callable[[], httpx.Client]) -> None:
    owner, stranger = new_client(), new_client()
    created = steps.create(owner)
    steps.upload(created, pictures.photo())
    url = f"/v1/jobs/{created['job_id']}"
    nobodys = f"/v1/jobs/{uuid4()}"
    for method, path in (("GET", ""), ("POST", "/start")):
        answer, unknown = (stranger.request(method, base + path) for base in (url, nobodys))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert {**answer.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}, "no hint that it exists"
    assert stranger.get("/v1/jobs").json()["data"] == []
    assert steps.show(owner, created["job_id"])["status"] == "created"
