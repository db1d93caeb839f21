"""A request body of hostile structure is refused quickly."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.waiting import assert_cpu_within

from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.controlplane.api.body_size import check_size
from pixelflow.controlplane.api.problems import InvalidBodyError, validate_body
from pixelflow.errors import ValidationFailedError

MAX_SECONDS = 0.3


def job(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"pipeline": list(steps)}


def redact(**fields: object) -> dict[str, Any]:
    return {"id": "hide", "action": "redact", **fields}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a/b": value}
    return value


HOSTILE = {
    "regions": (job(redact(regions=[{}] * 349_000)), "/pipeline/0/regions", "has too many entries: at most 200"),
    "stops": (
        job({"id": "a", "action": "gradient", "stops": [{}] * 349_000}),
        "/pipeline/0/stops",
        "has too many entries: at most 200",
    ),
    "steps": (job(*[{}] * 349_000), "/pipeline", "has too many entries: at most 200"),
    "unknown fields": (
        job(redact(**{f"key{number}": 0 for number in range(70_000)})),
        "/pipeline/0",
        "has too many fields: at most 200",
    ),
    "unknown fields of regions": (
        job(*[redact(regions=[{f"k{number}": 0 for number in range(100)}] * 30)] * 30),
        "",
        "has too many values: at most 20000",
    ),
    "depth": (nested(800), "/a~1b" * 17, "is nested too deeply: at most 16 levels"),
    "depth of arrays": (
        job(redact(regions=[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]])),
        None,
        "is nested too deeply: at most 16 levels",
    ),
}


@pytest.mark.parametrize(("body", "pointer", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_body_is_refused_quickly(body: dict[str, Any], pointer: str | None, message: str) -> None:
    started = time.process_time()
    with pytest.raises(ValidationFailedError) as refusal:
        validate_body(CreateJobRequest, body, context=None)
    assert_cpu_within(MAX_SECONDS, started)
    (error,) = refusal.value.errors
    assert error.message == message
    assert pointer is None or error.pointer == pointer


def test_the_worst_body_within_the_limits_is_refused_quickly() -> None:
    body = job(*[redact(regions=[{f"k{number}": 0 for number in range(6)}] * 100)] * 27)
    started = time.process_time()
    with pytest.raises(InvalidBodyError):
        validate_body(CreateJobRequest, body, context=None)
    assert_cpu_within(2 * MAX_SECONDS, started)


def test_the_largest_valid_pipeline_is_within_the_limits() -> None:
    region = {"x": 0, "y": 0, "width": 9, "height": 9}
    body = job(*[redact(id=f"hide{number}", regions=[region] * 100) for number in range(32)])
    validate_body(CreateJobRequest, body, context=None)


@pytest.mark.parametrize("body", [None, 1, "text", [], {}, nested(15), {"a": [0] * 200}])
def test_other_bodies_are_left_to_validation(body: object) -> None:
    check_size(body)


@pytest.mark.parametrize(("action", "field"), [("redact", "regions"), ("gradient", "stops")])
def test_a_model_refuses_a_long_array_before_it_validates_the_entries(action: str, field: str) -> None:
    started = time.process_time()
    with pytest.raises(ValidationError) as refusal:
        CreateJobRequest.model_validate(job({"id": "a", "action": action, field: [{}] * 349_000}))
    assert_cpu_within(MAX_SECONDS, started)
    assert [row["type"] for row in refusal.value.errors()] == ["too_long"]
