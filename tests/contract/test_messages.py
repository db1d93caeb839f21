"""Compatibility of messages on the queue: old messages stay valid, and sent messages do not change by accident.

During an upgrade, senders and workers of two releases share one queue. Golden files hold a message of every version as
stored in Redis, and the schema of what the last release's workers accept. They are never changed.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from pixelflow.adapters.queue.envelopes import Classification, classify
from pixelflow.adapters.queue.sender import encoded
from pixelflow.contracts.messages import VERSIONS, ProcessImage
from pixelflow.contracts.schemas import published

GOLDEN = Path(__file__).parents[1] / "golden" / "messages"
ON_THE_QUEUE = Path(__file__).parents[1] / "golden" / "queue"
LAST_RELEASE = Draft202012Validator(
    json.loads((ON_THE_QUEUE / "accepted_by_v1.schema.json").read_text(encoding="utf-8")),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
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


# ── Of other releases ────────────────────────────────────────────────────────────────────────────


def sent_in(version: int) -> bytes:
    """A message of that version as stored in Redis."""
    return (ON_THE_QUEUE / f"process_image.v{version}.json").read_bytes().strip()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_worker_takes_messages_of_every_version_that_it_knows(version: int) -> None:
    assert classify(sent_in(version)) is Classification.TAKE


def test_a_worker_knows_the_newest_version_and_the_one_before_and_each_has_a_golden_message() -> None:
    kept = {int(path.stem.rpartition(".v")[2]) for path in ON_THE_QUEUE.glob("process_image.v*.json")}
    assert set(VERSIONS) <= kept
    assert max(kept) == max(VERSIONS), "a golden message of a version that no worker takes"
    assert len(VERSIONS) == min(2, max(kept)), "its own version and the one before"


def test_a_worker_of_the_last_release_takes_messages_of_this_one() -> None:
    task_id = UUID("0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a56")
    for message in (ProcessImage.model_validate_json(V1), ProcessImage(job_id=task_id, requested_at=NOW)):
        LAST_RELEASE.validate(json.loads(encoded(task_id, message)))


def test_a_sent_message_equals_the_golden_one_except_for_its_time() -> None:
    golden = json.loads(sent_in(1))
    sent = json.loads(encoded(UUID(golden["message_id"]), ProcessImage.model_validate_json(V1)))
    sent["message_timestamp"] = golden["message_timestamp"]
    assert json.dumps(sent, separators=(",", ":")).encode() == sent_in(1)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"version": 2}, id="a version it does not know"),
        pytest.param({"job_id": 17}, id="an id that is none"),
        pytest.param({"schema": "pixelflow.erase"}, id="another message"),
    ],
)
def test_the_check_for_the_last_release_is_strict_enough_to_notice_a_change(change: dict[str, Any]) -> None:
    message = json.loads(sent_in(1))
    assert LAST_RELEASE.is_valid(message)
    message["args"][0] |= change
    assert not LAST_RELEASE.is_valid(message)
    assert classify(json.dumps(message).encode()) is not Classification.TAKE
