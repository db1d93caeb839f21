"""The operations of both clients."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from uuid import uuid4

import pytest
from tests.unit.client.conftest import Call, Time
from tests.unit.client.stand_in import Fault, StandIn

from pixelflow.client import ApiError, AsyncClient, Client, InvalidRequestError, JobFailedError, WaitTimeoutError
from pixelflow.contracts.jobs.responses import Job
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.imaging.operations.resize.model import Resize
from pixelflow.imaging.source_options import OnDamage, SourceOptions

STEPS = [{"id": "small", "action": "resize", "width": 64, "format": "webp"}]


def test_both_clients_have_the_same_operations_with_the_same_parameters() -> None:
    def operations(client: type) -> dict[str, list[str]]:
        public = {
            name: member for name, member in vars(client).items() if inspect.isfunction(member) and name[0] != "_"
        }
        return {name: list(inspect.signature(member).parameters) for name, member in public.items()}

    blocking, asynchronous = operations(Client), operations(AsyncClient)
    assert blocking.pop("close") == asynchronous.pop("aclose")
    assert blocking == asynchronous
    assert "process" in blocking


def test_process_uploads_the_file_and_returns_the_job_with_its_outputs(call: Call, api: StandIn, photo: Path) -> None:
    job = call("process", photo, STEPS, metadata={"sku": "A-17"})
    assert (job.status, [output.step_id for output in job.outputs]) == (JobStatus.SUCCEEDED, ["small"])
    kept = api.jobs[job.job_id]
    assert kept.source == photo.read_bytes()
    assert kept.request.metadata == {"sku": "A-17"}


def test_steps_may_be_models_and_unset_fields_are_not_sent(call: Call, api: StandIn, photo: Path) -> None:
    call("process", str(photo), [Resize(id="small", action="resize", width=64)])
    assert json.loads(api.seen[0].body)["pipeline"] == [{"id": "small", "action": "resize", "width": 64}]


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.jpg", "image/jpeg"),
        ("a.JPEG", "image/jpeg"),
        ("a.png", "image/png"),
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("a.unheard-of", None),
        ("a.svgz", None),
        ("noending", None),
    ],
)
def test_size_and_media_type_of_the_file_are_declared(
    call: Call, api: StandIn, tmp_path: Path, name: str, content_type: str | None
) -> None:
    (tmp_path / name).write_bytes(b"12345")
    started = call("submit", tmp_path / name, STEPS)
    declared = api.jobs[started.job_id].request.source
    assert declared is not None
    assert (declared.content_length, declared.content_type) == (5, content_type)


def test_options_of_the_source_are_sent(call: Call, api: StandIn, photo: Path) -> None:
    started = call("submit", photo, STEPS, source=SourceOptions(on_damage=OnDamage.ACCEPT, frame=0))
    declared = api.jobs[started.job_id].request.source
    assert declared is not None
    assert declared.content_length == photo.stat().st_size
    assert declared.options == SourceOptions(on_damage=OnDamage.ACCEPT, frame=0)


def test_every_post_has_its_own_idempotency_key_unless_its_route_needs_none(
    call: Call, api: StandIn, photo: Path
) -> None:
    job_id = call("submit", photo, STEPS).job_id
    call("start_job", job_id)
    call("cancel_job", job_id)
    call("retry_job", job_id)
    posts = [seen for seen in api.seen if seen.method == "POST"]
    keys = {seen.path.rpartition("/")[2]: seen.headers.get("idempotency-key") for seen in posts}
    assert (keys["start"], keys["cancel"]) == (None, None)
    assert None not in {keys["jobs"], keys["retry"]}
    assert keys["jobs"] != keys["retry"]


def test_a_job_is_canceled_retried_and_erased(call: Call, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.QUEUED, JobStatus.PROCESSING)
    job_id = call("submit", photo, STEPS).job_id
    assert call("cancel_job", str(job_id)).status is JobStatus.CANCELED
    assert call("cancel_job", job_id).status is JobStatus.CANCELED
    assert call("retry_job", job_id).status is JobStatus.QUEUED
    assert call("get_job", job_id).status is JobStatus.QUEUED
    assert call("erase_job", job_id) is None
    assert api.jobs == {}


@pytest.mark.parametrize("operation", ["cancel_job", "retry_job", "erase_job"])
def test_an_operation_that_is_not_possible_raises_the_code_of_the_api(call: Call, photo: Path, operation: str) -> None:
    with pytest.raises(ApiError) as caught:
        call(operation, uuid4())
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    job = call("process", photo, STEPS)
    if operation != "erase_job":
        with pytest.raises(ApiError) as caught:
            call(operation, job.job_id)
        assert (caught.value.status, caught.value.code) == (409, "job_already_finished")


def test_an_invalid_pipeline_is_rejected_with_all_errors_before_anything_is_sent(
    call: Call, api: StandIn, photo: Path
) -> None:
    wrong = [{"id": "a", "action": "resize", "width": 0}, {"id": "a", "action": "resize", "width": 1, "from": "b"}]
    with pytest.raises(InvalidRequestError) as caught:
        call("process", photo, wrong)
    assert {row.pointer for row in caught.value.errors} == {"/pipeline/0/width", "/pipeline/1/id", "/pipeline/1/from"}
    assert api.seen == []


def test_a_problem_becomes_an_error_with_all_its_parts(call: Call, api: StandIn) -> None:
    problem = {
        "type": "t", "title": "t", "status": 422, "detail": "Not so", "code": "validation_failed", "request_id": "r-9",
        "errors": [{"pointer": "/pipeline/0/width", "message": "too wide"}],
    }  # fmt: skip
    api.fail("get", Fault(422, body=json.dumps(problem).encode()))
    with pytest.raises(ApiError) as caught:
        call("get_job", uuid4())
    error = caught.value
    assert (error.code, error.status, error.detail, error.request_id) == ("validation_failed", 422, "Not so", "r-9")
    assert [(row.pointer, row.message) for row in error.errors] == [("/pipeline/0/width", "too wide")]


def test_the_message_of_an_error_has_each_fault_once(call: Call, api: StandIn) -> None:
    problem = {
        "type": "t", "title": "Not valid", "status": 422, "detail": "`/a` too wide (the first of 2 errors)",
        "code": "validation_failed", "request_id": "r-9",
        "errors": [{"pointer": "/a", "message": "too wide"}, {"pointer": "/b", "message": "too high"}],
    }  # fmt: skip
    api.fail("get", Fault(422, body=json.dumps(problem).encode()))
    with pytest.raises(ApiError) as caught:
        call("get_job", uuid4())
    assert str(caught.value) == "Not valid (422 validation_failed): /a too wide; /b too high"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b'{"job_id": 1}'),
        (200, b""),
        (404, b"<html>"),
        (500, b"{}"),
        (302, b""),
        (200, b"[" * 10**6),
    ],
)
def test_a_response_that_is_not_from_pixelflow_is_an_unexpected_answer(
    call: Call, api: StandIn, status: int, body: bytes
) -> None:
    api.fail("get", Fault(status, {"Location": "http://elsewhere.example/"} if status == 302 else {}, body))
    with pytest.raises(ApiError) as caught:
        call("get_job", uuid4())
    assert (caught.value.code, caught.value.status) == ("unexpected_answer", status)
    assert api.count("GET") == 1


def test_all_pages_are_iterated_and_one_page_has_a_cursor(call: Call, api: StandIn, photo: Path) -> None:
    ids = [call("submit", photo, STEPS).job_id for _ in range(5)]
    assert [job.job_id for job in call("iter_jobs", page_size=2)] == ids[::-1]
    assert api.count("GET", "limit=2") == 3
    page = call("list_jobs", limit=4)
    assert (len(page.data), page.next_cursor) == (4, "4")
    assert [job.job_id for job in call("list_jobs", cursor="4").data] == ids[:1]


def test_jobs_are_listed_by_status(call: Call, photo: Path) -> None:
    job = call("process", photo, STEPS)
    call("submit", photo, STEPS)
    assert [row.job_id for row in call("list_jobs", status=JobStatus.SUCCEEDED).data] == [job.job_id]


def test_wait_polls_at_growing_intervals_and_reports_each_change_once(
    call: Call, api: StandIn, time: Time, photo: Path
) -> None:
    api.life = (JobStatus.QUEUED,) * 3 + (JobStatus.PROCESSING,) * 9 + (JobStatus.SUCCEEDED,)
    reported: list[Job] = []
    call("process", photo, STEPS, on_change=reported.append)
    assert [job.status for job in reported] == [JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.SUCCEEDED]
    assert time.slept[0] < 0.1
    assert time.slept == sorted(time.slept)
    assert time.slept[-1] == 2.0


def test_wait_raises_at_its_timeout_with_the_last_state_of_the_job(
    call: Call, api: StandIn, time: Time, photo: Path
) -> None:
    api.life = (JobStatus.QUEUED, JobStatus.PROCESSING)
    with pytest.raises(WaitTimeoutError, match=r"still processing after 7 s") as caught:
        call("process", photo, STEPS, timeout=7)
    assert caught.value.job.status is JobStatus.PROCESSING
    assert time.now == pytest.approx(1007)


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELED])
def test_a_failed_or_canceled_job_raises_with_the_job(call: Call, api: StandIn, photo: Path, status: JobStatus) -> None:
    api.life = (JobStatus.QUEUED, status)
    with pytest.raises(JobFailedError, match=status.value) as caught:
        call("process", photo, STEPS)
    assert caught.value.job.status is status


@pytest.mark.parametrize("operation", ["start_job", "cancel_job", "retry_job", "erase_job", "get_job", "wait"])
def test_an_invalid_job_id_is_rejected_before_anything_is_sent(call: Call, api: StandIn, operation: str) -> None:
    with pytest.raises(ValueError, match="must be a UUID such as"):
        call(operation, "../v1/keys")
    assert api.seen == []


def test_the_downloaded_file_is_the_output_of_the_job(call: Call, api: StandIn, photo: Path, tmp_path: Path) -> None:
    job = call("process", photo, STEPS)
    path = call("download", job.outputs[0], tmp_path / "small.webp")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == job.outputs[0].sha256
    assert path.read_bytes() == api.output_bytes("small")


def test_a_key_of_one_s_own_is_sent_and_what_was_started_is_not_uploaded_again(
    call: Call, api: StandIn, photo: Path
) -> None:
    first = call("submit", photo, STEPS, idempotency_key="photo-17")
    again = call("submit", photo, STEPS, idempotency_key="photo-17")
    assert again.job_id == first.job_id
    created = [seen for seen in api.seen if (seen.method, seen.path) == ("POST", "/v1/jobs")]
    assert [seen.headers["idempotency-key"] for seen in created] == ["photo-17"] * 2
    assert (api.count("PUT"), api.count("POST", "/start")) == (1, 1)


def test_a_destination_is_sent(call: Call, api: StandIn, photo: Path) -> None:
    destination = {"bucket": "public", "key": "{step}.{ext}"}
    started = call("submit", photo, STEPS, destination=destination)
    sent = api.jobs[started.job_id].request.destination
    assert sent is not None
    assert sent.model_dump(exclude_unset=True) == destination
