"""Clients read what a newer release answers: unknown fields and values make no call fail."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel
from tests.unit.client.conftest import Call, Time
from tests.unit.client.newer_release import ADDED, STEP, UNKNOWN, answer, newer
from tests.unit.client.stand_in import Fault, StandIn

from pixelflow.client import ApiError, JobFailedError, WaitTimeoutError
from pixelflow.contracts.assets import CreatedAsset
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import Job
from pixelflow.contracts.keys import CreatedKey, KeyList
from pixelflow.contracts.webhooks import Event
from pixelflow.controlplane.api import examples

ID = UUID("0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55")
REQUEST = CreateJobRequest.model_validate(examples.CREATE["one-thumbnail"]["value"])
CALLS = [
    ("create_job", (REQUEST,), "create", "create_job"),
    ("start_job", (ID,), "start", "start_job"),
    ("cancel_job", (ID,), "cancel", "cancel_job"),
    ("retry_job", (ID,), "retry", "retry_job"),
    ("get_job", (ID,), "get", "get_job"),
    ("list_jobs", (), "list", "list_jobs"),
    ("list_assets", (), "get", "list_assets"),
    ("get_asset", ("logo",), "get", "get_asset"),
    ("list_deliveries", (ID,), "get", "list_deliveries"),
    ("replay_delivery", (ID,), "get", "replay_delivery"),
    ("rotate_webhook_secret", (), "get", "rotate_webhook_secret"),
    ("get_usage_by_day", (), "usage", "get_usage"),
    ("capabilities", (), "capabilities", "get_capabilities"),
    ("list_assets", (), "get", "list_assets"),
    ("get_asset", ("logo",), "get", "get_asset"),
]
"""Method, arguments, route of the stand-in and operation."""


def ok(document: object) -> Fault:
    return Fault(200, body=json.dumps(document).encode())


def as_read(model: BaseModel) -> object:
    return with_equal_times(model.model_dump(mode="json", by_alias=True, exclude_unset=True))


def with_equal_times(document: object) -> object:
    return json.loads(re.sub(r"(T\d\d:\d\d:\d\d\.\d{3})000Z", r"\1Z", json.dumps(document)))


@pytest.mark.parametrize(("method", "arguments", "route", "name"), CALLS, ids=[call[0] for call in CALLS])
def test_a_call_returns_all_that_a_newer_release_answers(
    call: Call, api: StandIn, *, method: str, arguments: tuple[object, ...], route: str, name: str
) -> None:
    document = answer(name)
    api.fail(route, ok(document))
    assert as_read(call(method, *arguments)) == document


def test_the_plan_of_a_newer_release_is_read(call: Call, api: StandIn) -> None:
    api.fail("create", ok(newer(examples.EXPLANATION)))
    steps = examples.CREATE["one-thumbnail"]["value"]["pipeline"]
    assert as_read(call("explain", steps, width=640, height=480)) == newer(examples.EXPLANATION)


def test_one_unknown_job_does_not_hide_the_others(call: Call, api: StandIn) -> None:
    api.fail("list", ok({"data": [examples.JOB, newer(examples.JOB)], "next_cursor": None}))
    known, unknown = call("iter_jobs")
    assert (known.status, known.outputs[0].format, known.pipeline[0].width) == ("succeeded", "webp", 640)
    assert (unknown.status, unknown.outputs[0].format) == ("paused", "jxl")


def test_the_known_fields_of_an_unknown_step_are_typed_and_the_others_are_kept(call: Call, api: StandIn) -> None:
    api.fail("get", ok(newer(examples.JOB)))
    step = call("get_job", ID).pipeline[0]
    assert (step.id, step.action, step.from_, step.output, step.format) == ("small", "posterize", "source", True, "jxl")
    assert step.model_extra == {name: STEP[name] for name in ("levels", "quality")}


def test_a_job_that_failed_with_an_unknown_code_raises_it(call: Call, api: StandIn) -> None:
    api.fail("get", ok(newer(examples.JOB) | {"status": "failed"}))
    with pytest.raises(JobFailedError, match="The source is encrypted") as raised:
        call("wait", ID)
    assert raised.value.code == "source_encrypted"


def test_an_unknown_status_is_not_finished(call: Call, api: StandIn, time: Time) -> None:
    paused = newer(examples.JOB)
    api.fail("get", ok(paused), ok(paused), ok(examples.JOB))
    seen: list[str] = []
    job = call("wait", ID, timeout=60, on_change=lambda job: seen.append(str(job.status)))
    assert (job.status, seen, len(time.slept)) == ("succeeded", ["paused", "succeeded"], 1)


def test_a_job_that_stays_in_an_unknown_status_times_out(call: Call, api: StandIn) -> None:
    api.fail("get", *[ok(newer(examples.JOB))] * 20)
    with pytest.raises(WaitTimeoutError, match="still paused"):
        call("wait", ID, timeout=5)


def test_an_unknown_status_of_a_finished_job_ends_the_wait(call: Call, api: StandIn) -> None:
    ended = newer(examples.JOB) | {"finished_at": examples.JOB["finished_at"], "status": "merged", "error": None}
    api.fail("get", ok(ended))
    with pytest.raises(JobFailedError, match="merged") as raised:
        call("wait", ID)
    assert raised.value.code == "merged"


def test_an_error_with_an_unknown_code_is_an_api_error(call: Call, api: StandIn) -> None:
    problem = {
        "type": "urn:x",
        "title": "T",
        "status": 422,
        "detail": "No album",
        "code": "no_album",
        "request_id": "r",
    }
    body = newer({**problem, "errors": [{"pointer": "/album", "message": "is required"}]}) | {
        "type": "urn:x",
        "code": "no_album",
        "status": 422,
    }
    api.fail("create", replace(ok(body), status=422))
    with pytest.raises(ApiError, match="No album") as raised:
        call("create_job", REQUEST)
    assert (raised.value.code, raised.value.errors[0].pointer) == ("no_album", "/album")


@pytest.mark.parametrize(
    ("model", "document"),
    [
        (Event, {"type": "job.completed", "timestamp": "2026-11-23T14:01:12Z", "data": examples.JOB}),
        (CreatedAsset, examples.CREATED_ASSET),
        (KeyList, examples.KEYS),
        (CreatedKey, examples.CREATED_KEY),
    ],
)
def test_a_receiver_and_an_administrator_read_newer_documents(model: type[BaseModel], document: Any) -> None:  # noqa: ANN401
    assert as_read(model.model_validate(newer(document))) == newer(document)


def test_an_unknown_field_is_not_shown_by_repr() -> None:
    assert ADDED["added_later"] not in repr(Job.model_validate(newer(examples.JOB)))


def test_the_made_up_release_has_a_new_value_in_every_open_field() -> None:
    text = json.dumps([answer(name) for name in ("create_job", "start_job", "get_job", "list_deliveries", "list_keys")])
    assert [name for name, value in UNKNOWN.items() if f'"{name}": {json.dumps(value)}' not in text] == []
