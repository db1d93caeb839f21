"""Cancel, retry and erase through the HTTP API, in every status of a job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import obstore
import psycopg
import pytest
from psycopg.rows import dict_row
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import Running, database_url, process_of, transform_children, wait_for, worker_paused
from tests.support.command_line import command_line_of

from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.client import ApiError, Client, JobFailedError
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings

CANCELED_WITHIN = 3.0
"""Seconds from the response until the job's child process has stopped."""
ERASED_WITHIN = 10.0
SLOW = [steps.resize(f"s{number}", width=4000, enlarge=True, format="avif", quality=90) for number in range(12)]
"""Some ten seconds for one child."""
TEXT = b"not a picture".ljust(len(pictures.photo()))
"""A photo can be uploaded to the same URL."""
MARK = "mark-of-something-personal"


def rows(service: Stack, query: str, job_id: str) -> list[dict[str, Any]]:
    """The row of a job of any user."""
    everything = "-c pixelflow.tenant_scope=everyone"
    with psycopg.connect(database_url(service), options=everything, row_factory=dict_row) as connection:
        return connection.execute(query, {"job_id": job_id}).fetchall()


def attempts(service: Stack, job_id: str) -> list[str | None]:
    """The outcomes of a job's attempts, in order."""
    found = rows(service, "SELECT outcome FROM attempts WHERE job_id = %(job_id)s ORDER BY attempt", job_id)
    return [row["outcome"] for row in found]


def is_billed(service: Stack, job_id: str) -> bool:
    """Whether there is a usage row."""
    return bool(rows(service, "SELECT job_id FROM usage_logs WHERE job_id = %(job_id)s", job_id))


def objects(settings: Settings, job_id: str) -> list[str]:
    """Keys of a job's objects in the bucket."""
    store = ObjectStorage(settings)._metadata_store
    found = [each for kind in ("uploads", "outputs") for each in obstore.list(store, f"{kind}/{job_id}").collect()]
    return [each["path"] for each in found]


def busy_child(service: Stack) -> Running:
    """Wait for a child process that transforms."""
    worker = process_of(service, "worker")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before = {child.pid: child.cpu_ticks for child in transform_children(worker)}
        time.sleep(0.2)  # what a child has to be seen working for
        for child in transform_children(worker):
            # An idle child uses nothing; one that works on a busy machine gets far less than a core.
            if child.cpu_ticks - before.get(child.pid, child.cpu_ticks) >= 3:
                return child
    raise AssertionError("no child works")


def act(client: httpx.Client, action: str, job_id: str) -> httpx.Response:
    """Cancel, retry or erase."""
    if action == "erase":
        return client.delete(f"/v1/jobs/{job_id}")
    return client.post(f"/v1/jobs/{job_id}/{action}")


def failed(answer: httpx.Response) -> tuple[int, str]:
    """Status and code."""
    return answer.status_code, answer.json()["code"]


# ── Cancel ───────────────────────────────────────────────────────────────────────────────────────


def test_a_job_that_was_never_started_is_canceled(client: httpx.Client) -> None:
    created = steps.create(client)
    answer = act(client, "cancel", created["job_id"])
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert answer.json() == steps.show(client, created["job_id"])
    assert answer.json()["finished_at"] is not None
    steps.upload(created, pictures.photo())
    assert failed(steps.start(client, created)) == (409, "job_already_finished")


def test_a_canceled_queued_job_is_never_processed(client: httpx.Client, service: Stack) -> None:
    with worker_paused(service):
        job_id = steps.started(client, pictures.photo())["job_id"]
        assert act(client, "cancel", job_id).json()["status"] == "canceled"
    steps.done(client, pictures.photo())
    job = steps.show(client, job_id)
    assert (job["status"], job["attempts"], job["outputs"]) == ("canceled", 0, [])
    assert attempts(service, job_id) == []


def test_canceling_a_processing_job_stops_its_child(client: httpx.Client, service: Stack) -> None:
    job_id = steps.started(client, pictures.noise(1200, 800), *SLOW)["job_id"]
    child = busy_child(service)
    answer = act(client, "cancel", job_id)
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    wait_for(lambda: not child.alive, CANCELED_WITHIN)
    assert steps.done(client, pictures.photo())["status"] == "succeeded", "the worker goes on"
    job = steps.show(client, job_id)
    assert (job["status"], job["outputs"], job["usage"], job["error"]) == ("canceled", [], None, None)
    assert attempts(service, job_id) == ["canceled"]
    assert not is_billed(service, job_id)


def test_canceling_is_idempotent(client: httpx.Client) -> None:
    job_id = steps.create(client)["job_id"]
    first, second = (act(client, "cancel", job_id) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()


@pytest.mark.parametrize(("source", "status"), [(pictures.photo(), "succeeded"), (TEXT, "failed")])
def test_a_finished_job_can_not_be_canceled(client: httpx.Client, source: bytes, status: str) -> None:
    job = steps.done(client, source)
    assert job["status"] == status
    assert failed(act(client, "cancel", job["job_id"])) == (409, "job_already_finished")
    assert steps.show(client, job["job_id"])["status"] == status


# ── Retry ────────────────────────────────────────────────────────────────────────────────────────


def test_a_retried_job_has_all_its_attempts_again(client: httpx.Client, service: Stack) -> None:
    created = steps.started(client, TEXT)
    job_id = created["job_id"]
    assert steps.finished(client, job_id)["error"]["code"] == "unsupported_format"
    answer = act(client, "retry", job_id)
    assert (answer.status_code, answer.json()["status"], answer.json()["queue"]) == (202, "queued", "images")
    job = steps.finished(client, job_id)
    assert (job["status"], job["attempts"], attempts(service, job_id)) == ("failed", 1, ["failed", "failed"])
    steps.upload(created, pictures.photo())
    assert act(client, "retry", job_id).status_code == 202
    job = steps.finished(client, job_id)
    assert (job["status"], job["attempts"], job["error"]) == ("succeeded", 1, None)
    assert [output["step_id"] for output in job["outputs"]] == ["small"]
    assert is_billed(service, job_id)


def test_a_job_that_was_canceled_while_processing_can_be_retried(
    client: httpx.Client, service: Stack, settings: Settings
) -> None:
    slow = steps.resize("slow", width=2800, enlarge=True, format="avif", quality=90)
    job_id = steps.started(client, pictures.noise(1200, 800), slow)["job_id"]
    busy_child(service)
    act(client, "cancel", job_id)
    assert act(client, "retry", job_id).status_code == 202
    job = steps.finished(client, job_id)
    assert (job["status"], job["attempts"]) == ("succeeded", 1), job["error"]
    assert attempts(service, job_id) == ["canceled", "succeeded"]
    assert [output["step_id"] for output in job["outputs"]] == ["slow"]
    assert job["outputs"][0]["object_key"] in objects(settings, job_id)


def test_a_retry_starts_a_canceled_job_that_was_never_started(client: httpx.Client) -> None:
    created = steps.create(client)
    act(client, "cancel", created["job_id"])
    assert failed(act(client, "retry", created["job_id"])) == (409, "source_missing")
    steps.upload(created, pictures.photo())
    assert act(client, "retry", created["job_id"]).status_code == 202
    assert steps.finished(client, created["job_id"])["status"] == "succeeded"


def test_a_job_that_succeeded_can_not_be_retried(client: httpx.Client) -> None:
    job = steps.done(client, pictures.photo())
    assert failed(act(client, "retry", job["job_id"])) == (409, "job_already_finished")


def test_a_job_that_was_never_started_can_not_be_retried(client: httpx.Client) -> None:
    created = steps.create(client)
    steps.upload(created, pictures.photo())
    assert failed(act(client, "retry", created["job_id"])) == (409, "job_not_finished")


def test_retrying_is_idempotent(client: httpx.Client, service: Stack) -> None:
    job_id = steps.done(client, TEXT)["job_id"]
    with worker_paused(service):
        answers = [act(client, "retry", job_id) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.text for answer in answers}) == 1
    assert steps.finished(client, job_id)["attempts"] == 1
    assert attempts(service, job_id) == ["failed", "failed"]


# ── Erase ────────────────────────────────────────────────────────────────────────────────────────

PERSONAL: dict[str, Any] = {"metadata": {"name": MARK}, "webhook_url": f"https://{MARK}.example/hook"}
ROUTES = [
    ("GET", ""),
    ("POST", "/start"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
    ("GET", "/deliveries"),
    ("DELETE", ""),
]
TABLES = ["jobs", "attempts", "outputs", "events"]


def assert_gone(client: httpx.Client, job_id: str) -> None:
    """Whether every route answers 404."""
    for method, path in ROUTES:
        assert failed(client.request(method, f"/v1/jobs/{job_id}{path}")) == (404, "not_found"), (method, path)
    assert job_id not in [job["job_id"] for job in client.get("/v1/jobs").json()["data"]]


def test_erasing_a_finished_job_deletes_its_files_and_personal_data(
    client: httpx.Client, service: Stack, settings: Settings
) -> None:
    job = steps.done(client, pictures.photo(), steps.resize(MARK), steps.resize("other"), **PERSONAL)
    job_id = job["job_id"]
    assert (job["status"], len(objects(settings, job_id))) == ("succeeded", 3)
    answer = act(client, "erase", job_id)
    assert (answer.status_code, answer.content) == (204, b"")
    assert_gone(client, job_id)
    wait_for(lambda: objects(settings, job_id) == [], ERASED_WITHIN)
    assert httpx.get(job["outputs"][0]["download_url"]).status_code == 404
    for table in TABLES:
        left = rows(service, f"SELECT to_jsonb(t)::text AS row FROM {table} t WHERE job_id = %(job_id)s", job_id)  # noqa: S608 - our own names
        assert [row["row"] for row in left if MARK in row["row"] or job["source"]["sha256"] in row["row"]] == []
        assert table in {"jobs", "attempts"} or left == []
    assert is_billed(service, job_id), "what was billed stays billed"


def test_erasing_a_failed_job_deletes_its_error(client: httpx.Client, service: Stack, settings: Settings) -> None:
    job_id = steps.done(client, TEXT, **PERSONAL)["job_id"]
    assert act(client, "erase", job_id).status_code == 204
    assert_gone(client, job_id)
    wait_for(lambda: objects(settings, job_id) == [], ERASED_WITHIN)
    [row] = rows(service, "SELECT status, error FROM jobs WHERE job_id = %(job_id)s", job_id)
    assert row == {"status": "failed", "error": None}
    assert rows(service, "SELECT 1 FROM attempts WHERE job_id = %(job_id)s AND error IS NOT NULL", job_id) == []


def test_a_job_is_erased_before_it_is_started(client: httpx.Client, settings: Settings) -> None:
    created = steps.create(client, **PERSONAL)
    steps.upload(created, pictures.photo())
    assert act(client, "erase", created["job_id"]).status_code == 204
    assert_gone(client, created["job_id"])
    wait_for(lambda: objects(settings, created["job_id"]) == [], ERASED_WITHIN)


def test_an_erased_queued_job_is_never_processed(client: httpx.Client, service: Stack) -> None:
    with worker_paused(service):
        job_id = steps.started(client, pictures.photo())["job_id"]
        assert act(client, "erase", job_id).status_code == 204
    steps.done(client, pictures.photo())
    assert_gone(client, job_id)
    assert attempts(service, job_id) == []


def test_erasing_a_processing_job_stops_its_child(client: httpx.Client, service: Stack, settings: Settings) -> None:
    job_id = steps.started(client, pictures.noise(1200, 800), *SLOW, **PERSONAL)["job_id"]
    child = busy_child(service)
    assert act(client, "erase", job_id).status_code == 204
    wait_for(lambda: not child.alive, CANCELED_WITHIN)
    assert_gone(client, job_id)
    wait_for(lambda: objects(settings, job_id) == [], ERASED_WITHIN)
    assert not is_billed(service, job_id)
    assert attempts(service, job_id) == ["canceled"]


@pytest.mark.parametrize("action", ["cancel", "retry", "erase"])
def test_another_user_s_job_is_not_found(new_client: Callable[[], httpx.Client], action: str) -> None:
    owner, stranger = new_client(), new_client()
    job_id = steps.done(owner, TEXT)["job_id"]
    answer, unknown = (act(stranger, action, each) for each in (job_id, str(uuid4())))
    assert failed(answer) == (404, "not_found")
    assert {**answer.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}, "no hint that it exists"
    assert steps.show(owner, job_id)["status"] == "failed"


# ── By the SDK and the command line ──────────────────────────────────────────────────────────────


def test_the_client_cancels_retries_and_erases(client: httpx.Client, service: Stack) -> None:
    job_id = steps.done(client, TEXT)["job_id"]
    with Client(service.api_url, client.headers["Authorization"].removeprefix("Bearer ")) as pixelflow:
        with worker_paused(service):
            started = pixelflow.retry_job(job_id)
            assert (str(started.job_id), started.status) == (job_id, JobStatus.QUEUED)
            assert pixelflow.cancel_job(job_id).status is JobStatus.CANCELED
        pixelflow.retry_job(job_id)
        with pytest.raises(JobFailedError, match="unsupported_format"):
            pixelflow.wait(job_id, timeout=300)
        pixelflow.erase_job(job_id)
        with pytest.raises(ApiError, match="404 not_found"):
            pixelflow.erase_job(job_id)


def test_the_command_line_retries_waits_and_erases(client: httpx.Client) -> None:
    created = steps.started(client, TEXT)
    steps.finished(client, created["job_id"])
    steps.upload(created, pictures.photo())
    pixelflow = command_line_of(client)

    def jobs(*arguments: str) -> tuple[int, str | None]:
        done = pixelflow("jobs", *arguments, created["job_id"], "--json")
        return done.returncode, json.loads(done.stdout)["jobs"][0]["status"]

    assert jobs("retry", "--wait") == (0, "succeeded")
    assert jobs("cancel") == (4, None)
    assert jobs("erase", "--yes") == (0, "erased")
    assert_gone(client, created["job_id"])
