"""Compatibility of the messages that wake workers: they do not change by accident.

Workers ignore their content; programs beside PixelFlow may read it. Golden files hold a message of every version as
stored in Redis. They are never changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from pixelflow.contracts.messages import VERSION, ProcessImage
from pixelflow.contracts.schemas import published

GOLDEN = Path(__file__).parents[1] / "golden" / "messages"
V1 = (GOLDEN / "process_image.v1.json").read_text(encoding="utf-8").strip()


def test_a_golden_message_parses_and_is_written_back_byte_by_byte() -> None:
    assert ProcessImage.model_validate_json(V1).model_dump_json(by_alias=True) == V1


def test_a_golden_message_is_valid_by_the_published_schema() -> None:
    validator = Draft202012Validator(
        published()["process_image.v1"], format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    validator.validate(json.loads(V1))


def test_every_golden_message_has_a_published_schema() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} <= set(published())


def test_a_field_added_by_a_newer_sender_of_the_same_version_is_ignored() -> None:
    message = ProcessImage.model_validate({**json.loads(V1), "priority": 3})
    assert message.model_dump_json(by_alias=True) == V1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"version": 2}, id="a version it does not know"),
        pytest.param({"version": 0}, id="a version that never was"),
        pytest.param({"schema": "pixelflow.erase"}, id="another message"),
        pytest.param({"job_id": "17"}, id="an id that is none"),
        pytest.param({"requested_at": "yesterday"}, id="a time that is none"),
    ],
)
def test_an_invalid_message_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProcessImage.model_validate({**json.loads(V1), **change})


def test_a_message_has_no_pipeline_and_no_user() -> None:
    assert set(json.loads(V1)) == {"schema", "version", "job_id", "requested_at", "traceparent"}


def test_the_current_version_has_a_golden_message() -> None:
    assert max(int(path.stem.rpartition(".v")[2]) for path in GOLDEN.glob("process_image.v*.json")) == VERSION
