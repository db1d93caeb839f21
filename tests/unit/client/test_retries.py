"""Which requests are retried, how often and when."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from tests.unit.client.conftest import Call, Time
from tests.unit.client.stand_in import DROP, KEY, LOST, NOW, Fault, StandIn

from pixelflow.client import ApiError, ConnectionFailedError, TransferError, WaitTimeoutError
from pixelflow.client.session import Session
from pixelflow.client.streams import EventReader
from pixelflow.contracts.batches import Batch
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import Job
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.contracts.messages import task_id_of

STEPS = [{"id": "small", "action": "resize", "width": 64, "format": "webp"}]
REQUEST = CreateJobRequest.model_validate({"pipeline": STEPS})


@pytest.mark.parametrize("route", ["create", "put", "start", "get", "list", "cancel", "retry", "erase", "download"])
@pytest.mark.parametrize(
    "fault", [DROP, Fault(429), Fault(502), Fault(503), Fault(504)], ids=lambda fault: str(fault.status)
)
def test_every_operation_survives_three_transient_failures(
    *, call: Call, api: StandIn, photo: Path, tmp_path: Path, route: str, fault: Fault
) -> None:
    api.fail(route, fault, fault, fault)
    job = call("process", photo, STEPS)
    call("list_jobs")
    path = call("download", job.outputs[0], tmp_path / "small.webp")
    assert api.jobs[job.job_id].source == photo.read_bytes()
    assert path.read_bytes() == api.output_bytes("small")
    canceled = call("create_job", REQUEST).job_id
    call("cancel_job", canceled)
    call("retry_job", canceled)
    call("erase_job", canceled)
    assert api.faults[route] == []


@pytest.mark.parametrize(
    ("route", "fault", "error"),
    [
        ("start", DROP, ConnectionFailedError),
        ("start", Fault(503), ApiError),
        ("put", Fault(503), TransferError),
        ("put", DROP, ConnectionFailedError),
    ],
    ids=str,
)
def test_the_fourth_failure_is_raised(
    *, call: Call, api: StandIn, time: Time, photo: Path, route: str, fault: Fault, error: type[Exception]
) -> None:
    api.fail(route, *[fault] * 10)
    with pytest.raises(error):
        call("process", photo, STEPS)
    assert len(api.faults[route]) == 6
    assert time.slept == [0.2, 0.4, 0.8]


@pytest.mark.parametrize("fault", [DROP, Fault(502), Fault(503)], ids=str)
@pytest.mark.parametrize(("failures", "is_over"), [(40, False), (400, True)])
def test_a_wait_survives_a_restart_of_the_api_but_no_long_outage(
    *, call: Call, api: StandIn, time: Time, photo: Path, fault: Fault, failures: int, is_over: bool
) -> None:
    answered_at: list[float] = []

    def on_change(_: Job) -> None:
        if not answered_at:
            answered_at.append(time.now)
            api.fail("get", *[fault] * failures)

    if is_over:
        with pytest.raises(ConnectionFailedError if fault is DROP else ApiError):
            call("process", photo, STEPS, on_change=on_change)
        assert 60 <= time.now - answered_at[0] < 70
    else:
        assert call("process", photo, STEPS, on_change=on_change).status == "succeeded"
        assert 20 < time.now - answered_at[0] < 60


@pytest.mark.parametrize("fault", [DROP, Fault(503)], ids=str)
def test_a_wait_for_a_batch_survives_a_restart_of_the_api_but_no_long_outage(
    *, call: Call, api: StandIn, time: Time, fault: Fault
) -> None:
    batch = _ended_batch()
    api.batches.append(batch)
    api.fail("batches", *[fault] * 40)
    assert call("wait_for_batch", batch.batch_id).percent == 100
    api.fail("batches", *[fault] * 400)
    began = time.now
    with pytest.raises((ConnectionFailedError, ApiError)):
        call("wait_for_batch", batch.batch_id)
    assert 60 <= time.now - began < 70
    began = time.now
    with pytest.raises((ConnectionFailedError, ApiError)):
        call("wait_for_batch", batch.batch_id, timeout=10)
    assert time.now - began <= 10


def _ended_batch(**fields: object) -> Batch:
    known = {"batch_id": uuid4(), "name": None, "preset": None, "created_at": NOW, "canceled_at": None}
    return Batch.model_validate(known | {"jobs": {"succeeded": 1}, "total": 1, "percent": 100} | fields)


def test_a_closed_batch_is_returned_when_it_has_finished(call: Call, api: StandIn) -> None:
    batch = _ended_batch(closed_at=NOW)
    api.batches.append(batch)

    def finish(seen: Batch) -> None:
        api.batches[:] = [seen.model_copy(update={"finished_at": NOW})]

    assert call("wait_for_batch", batch.batch_id, on_change=finish).finished_at == NOW


def test_a_batch_that_no_controller_finishes_is_returned_ten_seconds_after_its_jobs(
    call: Call, api: StandIn, time: Time
) -> None:
    api.batches += [_ended_batch(closed_at=NOW), _ended_batch()]
    closed, opened = (batch.batch_id for batch in api.batches)
    began = time.now
    assert call("wait_for_batch", opened).finished_at is None
    assert time.now == began, "an open batch has no end"
    assert call("wait_for_batch", closed).finished_at is None
    assert 10 <= time.now - began < 13


def test_a_wait_comes_back_no_earlier_than_an_api_that_is_away_asks_for(
    call: Call, api: StandIn, time: Time, photo: Path
) -> None:
    job = call("submit", photo, STEPS)
    api.fail("get", *[Fault(503, {"Retry-After": "5"})] * 6)
    time.slept.clear()
    assert call("wait", job.job_id).status == "succeeded"
    assert min(time.slept[:6]) >= 5
    api.fail("get", *[Fault(503, {"Retry-After": "5"})] * 100)
    began = time.now
    with pytest.raises(ApiError) as raised:
        call("wait", job.job_id, timeout=30)
    assert (raised.value.retry_after, time.now - began <= 30) == (5, True)
    api.fail("get", Fault(503, {"Retry-After": "3600"}))
    with pytest.raises(ApiError):
        call("wait", job.job_id)


def test_a_stream_survives_a_restart_of_the_api_but_no_long_outage(time: Time) -> None:
    away = ConnectionFailedError("away", sent=False)
    reader = EventReader(Session("http://127.0.0.1:9", KEY, clock=time), None)

    def break_off() -> None:
        with reader.connection():
            raise away

    for _ in range(3):
        break_off()
    with pytest.raises(ConnectionFailedError):
        break_off()
    assert list(reader.feed(b": heartbeat\nid: 7\n\n")) == [None]
    began = time.now
    with pytest.raises(ConnectionFailedError):  # noqa: PT012  # as a client does, until it gives up
        while True:
            break_off()
            time.sleep(reader.pause())
    assert 60 <= time.now - began < 70


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 500])
def test_a_permanent_error_is_not_retried(call: Call, api: StandIn, time: Time, photo: Path, status: int) -> None:
    api.fail("start", Fault(status))
    with pytest.raises(ApiError):
        call("process", photo, STEPS)
    assert (api.count("POST", "/start"), time.slept) == (1, [])


@pytest.mark.parametrize("fault", [LOST, Fault(503, acts=True), Fault(504, acts=True)], ids=str)
def test_a_create_whose_response_was_lost_is_retried_and_creates_one_job(
    call: Call, api: StandIn, fault: Fault
) -> None:
    api.fail("create", fault, fault)
    created = call("create_job", REQUEST)
    assert list(api.jobs) == [created.job_id]
    assert len({seen.headers["idempotency-key"] for seen in api.seen}) == 1
    assert api.count("POST") == 3


def test_a_retry_job_whose_response_was_lost_is_sent_again_with_the_same_idempotency_key(
    call: Call, api: StandIn, photo: Path
) -> None:
    api.life = (JobStatus.FAILED,)
    job_id = call("submit", photo, STEPS).job_id
    api.fail("retry", LOST)
    api.life = (JobStatus.QUEUED, JobStatus.PROCESSING)
    call("retry_job", job_id)
    keys = [seen.headers["idempotency-key"] for seen in api.seen if "/retry" in seen.path]
    assert (len(keys), len(set(keys))) == (2, 1)


@pytest.mark.parametrize("fault", [LOST, Fault(503, acts=True)], ids=str)
def test_an_erase_whose_response_was_lost_succeeds_although_the_job_no_longer_exists(
    call: Call, api: StandIn, fault: Fault
) -> None:
    job_id = call("create_job", REQUEST).job_id
    api.fail("erase", fault)
    call("erase_job", job_id)
    assert (api.jobs, api.count("DELETE")) == ({}, 2)


def test_an_erase_that_was_only_rate_limited_reports_a_missing_job(call: Call, api: StandIn) -> None:
    api.fail("erase", Fault(429))
    with pytest.raises(ApiError) as caught:
        call("erase_job", uuid4())
    assert (caught.value.code, api.count("DELETE")) == ("not_found", 2)


def test_a_conflict_with_retry_after_is_retried(call: Call, api: StandIn) -> None:
    api.fail("create", Fault(409, {"Retry-After": "1"}))
    call("create_job", REQUEST)
    assert api.count("POST") == 2


def test_a_create_that_was_never_sent_is_retried(call: Call, api: StandIn, time: Time) -> None:
    api.vanish()
    with pytest.raises(ConnectionFailedError) as caught:
        call("create_job", REQUEST)
    assert (len(time.slept), caught.value.sent) == (3, False)


@pytest.mark.parametrize(
    ("headers", "slept"),
    [
        ({"Retry-After": "7"}, [7.2]),
        ({"Retry-After": "0"}, [0.2]),
        ({"Retry-After": "Mon, 23 Nov 2026 10:00:09 GMT", "Date": "Mon, 23 Nov 2026 10:00:00 GMT"}, [9.2]),
        ({"Retry-After": "soon"}, [0.2]),
        ({"Retry-After": "-5"}, [0.2]),
        ({"Retry-After": "²"}, [0.2]),
        ({"Retry-After": "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"}, [0.2]),
        ({"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, [0.2]),
        ({}, [0.2]),
    ],
)
def test_retry_after_is_obeyed(
    call: Call, api: StandIn, time: Time, headers: dict[str, str], slept: list[float]
) -> None:
    api.fail("list", Fault(429, headers))
    call("list_jobs")
    assert time.slept == slept


def test_a_rate_limit_is_waited_for_beyond_four_attempts(call: Call, api: StandIn, time: Time) -> None:
    api.fail("create", *[Fault(429, {"Retry-After": "1"})] * 20)
    call("create_job", REQUEST)
    assert api.count("POST") == 21
    assert time.slept[:4] == pytest.approx([1.2, 1.4, 1.8, 2.6])
    assert max(time.slept) == 6.0


def test_a_rate_limit_does_not_use_up_the_attempts(call: Call, api: StandIn) -> None:
    api.fail("create", DROP, Fault(503), *[Fault(429, {"Retry-After": "1"})] * 5, Fault(503))
    call("create_job", REQUEST)
    assert api.count("POST") == 9


def test_the_wait_for_a_rate_limit_is_limited(call: Call, api: StandIn, time: Time) -> None:
    api.fail("create", *[Fault(429, {"Retry-After": "30"})] * 20)
    with pytest.raises(ApiError) as caught:
        call("create_job", REQUEST)
    assert (caught.value.status, sum(time.slept) <= 300, len(time.slept)) == (429, True, 9)


def test_a_very_long_retry_after_is_not_waited_for(call: Call, api: StandIn, time: Time) -> None:
    api.fail("list", Fault(429, {"Retry-After": "99999999999"}))
    with pytest.raises(ApiError) as caught:
        call("list_jobs")
    assert (caught.value.status, time.slept) == (429, [])


def test_no_attempt_starts_after_the_timeout_of_wait(call: Call, api: StandIn, time: Time, photo: Path) -> None:
    started = call("submit", photo, STEPS)
    api.fail("get", Fault(503, {"Retry-After": "50"}))
    with pytest.raises((ApiError, WaitTimeoutError)):
        call("wait", started.job_id, timeout=10)
    assert time.slept == []


def test_a_retried_upload_reports_its_progress_from_the_start(call: Call, api: StandIn, photo: Path) -> None:
    api.fail("put", Fault(503))
    reported: list[tuple[int, int]] = []

    def report(sent: int, total: int) -> None:
        reported.append((sent, total))

    call("submit", photo, STEPS, on_progress=report)
    total = photo.stat().st_size
    once = [(sent, total) for sent in (262_144, 524_288, 768_000)]
    assert reported == once * 2


def test_a_start_whose_response_was_lost_succeeds_although_the_job_has_ended_since(
    call: Call, api: StandIn, photo: Path
) -> None:
    api.fail("start", LOST, Fault(409))
    started = call("submit", photo, STEPS)
    assert started.task_id == task_id_of(started.job_id, run=1)
    assert started.status is JobStatus.QUEUED
