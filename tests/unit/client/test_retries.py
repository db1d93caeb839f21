"""What is sent again, how often and when."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.client.conftest import Call, Time
from tests.unit.client.stand_in import DROP, Fault, StandIn

from pixelflow.client import ApiError, ConnectionFailedError, TransferError, WaitTimeoutError
from pixelflow.contracts.job import CreateJobRequest

STEPS = [{"id": "small", "action": "resize", "width": 64, "format": "webp"}]
REQUEST = CreateJobRequest.model_validate({"pipeline": STEPS})


@pytest.mark.parametrize("route", ["put", "start", "get", "list", "download"])
@pytest.mark.parametrize(
    "fault", [DROP, Fault(429), Fault(502), Fault(503), Fault(504)], ids=lambda fault: str(fault.status)
)
def test_what_may_be_repeated_outlives_three_passing_failures(
    *, call: Call, api: StandIn, photo: Path, tmp_path: Path, route: str, fault: Fault
) -> None:
    api.fail(route, fault, fault, fault)
    job = call("process", photo, STEPS)
    call("list_jobs")
    path = call("download", job.outputs[0], tmp_path / "small.webp")
    assert api.jobs[job.job_id].source == photo.read_bytes()
    assert path.read_bytes() == api.output_bytes("small")
    assert api.faults[route] == []


@pytest.mark.parametrize(
    ("route", "fault", "error"),
    [
        ("get", DROP, ConnectionFailedError),
        ("get", Fault(503), ApiError),
        ("put", Fault(503), TransferError),
        ("put", DROP, ConnectionFailedError),
    ],
    ids=str,
)
def test_after_four_tries_the_failure_is_the_callers(
    *, call: Call, api: StandIn, time: Time, photo: Path, route: str, fault: Fault, error: type[Exception]
) -> None:
    api.fail(route, *[fault] * 10)
    with pytest.raises(error):
        call("process", photo, STEPS)
    assert len(api.faults[route]) == 6
    assert time.slept == [0.2, 0.4, 0.8]


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 500])
def test_a_refusal_is_not_asked_again(call: Call, api: StandIn, time: Time, photo: Path, status: int) -> None:
    api.fail("start", Fault(status))
    with pytest.raises(ApiError):
        call("process", photo, STEPS)
    assert (api.count("POST", "/start"), time.slept) == (1, [])


@pytest.mark.parametrize("fault", [DROP, Fault(502), Fault(503), Fault(504)], ids=lambda fault: str(fault.status))
def test_a_create_whose_fate_is_not_known_is_not_repeated(call: Call, api: StandIn, fault: Fault) -> None:
    api.fail("create", fault)
    with pytest.raises((ConnectionFailedError, ApiError)):
        call("create_job", REQUEST)
    assert api.count("POST") == 1


def test_a_create_that_did_nothing_is_repeated_under_the_same_idempotency_key(call: Call, api: StandIn) -> None:
    api.fail("create", Fault(429), Fault(429))
    call("create_job", REQUEST)
    assert len({seen.headers["idempotency-key"] for seen in api.seen}) == 1
    assert api.count("POST") == 3


def test_a_create_that_never_left_is_repeated(call: Call, api: StandIn, time: Time) -> None:
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
        ({}, [0.2]),
    ],
)
def test_retry_after_is_obeyed(
    call: Call, api: StandIn, time: Time, headers: dict[str, str], slept: list[float]
) -> None:
    api.fail("list", Fault(429, headers))
    call("list_jobs")
    assert time.slept == slept


def test_patience_that_is_asked_for_has_an_end(call: Call, api: StandIn, time: Time) -> None:
    api.fail("list", Fault(429, {"Retry-After": "99999999999"}))
    with pytest.raises(ApiError) as caught:
        call("list_jobs")
    assert (caught.value.status, time.slept) == (429, [])


def test_no_try_begins_past_the_timeout_of_wait(call: Call, api: StandIn, time: Time, photo: Path) -> None:
    started = call("submit", photo, STEPS)
    api.fail("get", Fault(503, {"Retry-After": "50"}))
    with pytest.raises((ApiError, WaitTimeoutError)):
        call("wait", started.job_id, timeout=10)
    assert time.slept == []


def test_an_upload_that_is_repeated_reports_its_bytes_from_the_start(call: Call, api: StandIn, photo: Path) -> None:
    api.fail("put", Fault(503))
    told: list[tuple[int, int]] = []

    def report(sent: int, total: int) -> None:
        told.append((sent, total))

    call("submit", photo, STEPS, on_progress=report)
    total = photo.stat().st_size
    once = [(sent, total) for sent in (262_144, 524_288, 768_000)]
    assert told == once * 2
