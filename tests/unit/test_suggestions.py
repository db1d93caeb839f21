"""«Did you mean»: names of other tools and misspelt names of fields and values."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from pydantic import ValidationError

from pixelflow.contracts.field_errors import field_errors
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.known_fields import fields_at
from pixelflow.contracts.other_tools import FIELDS, HINTS, VALUES
from pixelflow.contracts.suggestions import MAX_LENGTH

RESIZE: dict[str, Any] = {"id": "a", "action": "resize", "width": 5}
MARK: dict[str, Any] = {"id": "a", "action": "watermark", "watermark": {"text": "x"}}


def messages_of(body: object) -> dict[str, str]:
    with pytest.raises(ValidationError) as raised:
        CreateJobRequest.model_validate(body)
    rows = raised.value.errors(include_url=False, include_input=False)
    return {error.pointer: error.message for error in field_errors(rows, body, CreateJobRequest)}


@pytest.mark.parametrize(
    ("step", "field", "meant"),
    [
        (RESIZE, "w", "width"),
        (RESIZE, "h", "height"),
        (RESIZE, "mode", "fit"),
        (RESIZE, "position", "gravity"),
        (RESIZE, "anchor", "gravity"),
        (RESIZE, "bg", "background"),
        (RESIZE, "backgroundColor", "background"),
        (RESIZE, "op", "action"),
        (RESIZE, "operation", "action"),
        (RESIZE, "type", "format"),
        (RESIZE, "widht", "width"),
        (RESIZE, "Width", "width"),
        (RESIZE, "enlarged", "enlarge"),
        (RESIZE, "effort", None),
        (MARK, "w", None),
        (RESIZE, "password", None),
        (RESIZE, "x" * (MAX_LENGTH + 1), None),
        (RESIZE, "", None),
    ],
)
def test_an_unknown_field_of_a_step(step: dict[str, Any], field: str, meant: str | None) -> None:
    message = messages_of({"pipeline": [{**step, field: 1}]})[f"/pipeline/0/{field}"]
    assert message.startswith("is an unknown field; ")
    assert re.findall("did you mean `(.*)`", message) == ([meant] if meant else [])


@pytest.mark.parametrize(
    ("body", "pointer", "meant"),
    [
        ({"pipeline": [RESIZE], "webhook": "https://a.example"}, "/webhook", "webhook_url"),
        ({"pipeline": [RESIZE], "meta_data": {}}, "/meta_data", "metadata"),
        ({"pipeline": [RESIZE], "source": {"size": 5}}, "/source/size", "content_length"),
        ({"pipeline": [{**MARK, "watermark": {"text": "x", "colour": 1}}]}, "/pipeline/0/watermark/colour", "color"),
        ({"pipeline": [{**MARK, "watermark": {"text": "x", "angle": 1}}]}, "/pipeline/0/watermark/angle", "rotation"),
    ],
)
def test_an_unknown_field_of_another_object(body: object, pointer: str, meant: str) -> None:
    assert messages_of(body)[pointer] == f"is an unknown field; did you mean `{meant}`?"


@pytest.mark.parametrize(
    ("field", "value", "meant"),
    [
        ("fit", "crop", "cover"),
        ("fit", "fit", "inside"),
        ("fit", "scale", "fill"),
        ("fit", "scale-down", "inside"),
        ("fit", "Contain", "contain"),
        ("gravity", "top", "north"),
        ("gravity", "center center", "center"),
        ("gravity", "Bottom Right", "southeast"),
        ("gravity", "face", "faces"),
        ("gravity", "nort", "north"),
        ("format", "jfif", "jpeg"),
        ("format", "webpp", "webp"),
        ("action", "thumbnail", "resize"),
        ("action", "rezise", "resize"),
        ("action", "text", "watermark"),
        ("fit", "zebra", None),
        ("fit", ["crop"], None),
        ("gravity", 5, None),
        ("action", {"a": 1}, None),
    ],
)
def test_an_unknown_value_of_a_step(field: str, value: object, meant: str | None) -> None:
    message = messages_of({"pipeline": [{**RESIZE, field: value}]})[f"/pipeline/0/{field}"]
    assert message.partition("; ")[2] == (f"did you mean `{meant}`?" if meant else "")


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ({"steps": [RESIZE]}, "/pipeline", "is required; rename `steps` to `pipeline`"),
        ({"pipeline": [{"id": "a", "op": "resize"}]}, "/pipeline/0/action", "is required; rename `op` to `action`"),
        ({"pipeline": [{"id": "a", "width": 5}]}, "/pipeline/0/action", "is required, such as `resize`"),
        (
            {},
            "/pipeline",
            'is required, such as [{"action": "resize", "id": "thumb", "width": 640}]',
        ),
    ],
)
def test_a_missing_field_that_was_sent_by_another_name(body: object, pointer: str, message: str) -> None:
    assert messages_of(body)[pointer] == message


def test_a_message_never_repeats_an_unknown_name_or_value() -> None:
    found = messages_of({"pipeline": [{**RESIZE, "qualityy": 1, "fit": "coverr"}]})
    assert not any("qualityy" in message or "coverr" in message for message in found.values())


@pytest.mark.parametrize("table", [FIELDS, *VALUES.values(), *HINTS.values()])
def test_the_names_of_the_tables_can_be_found(table: dict[str, object]) -> None:
    assert [
        name for name in table if name != name.lower() or " " in name or "-" in name or len(name) > MAX_LENGTH
    ] == []


def test_a_location_that_the_model_lacks_has_no_fields() -> None:
    assert fields_at(CreateJobRequest, ("pipeline", 0, "explode", "x")) == set()
    assert fields_at(CreateJobRequest, ("metadata", "key")) == set()


def test_suggestions_for_very_many_errors_take_no_longer() -> None:
    names = [f"watermark_anchor_{number:06}" for number in range(50_000)]
    body = {"pipeline": [{**RESIZE, **dict.fromkeys(names, 1)}]}
    with pytest.raises(ValidationError) as raised:
        CreateJobRequest.model_validate(body)
    rows = raised.value.errors(include_url=False, include_input=False)
    seconds = []
    for model in (CreateJobRequest, None, CreateJobRequest, None):
        started = time.process_time()
        field_errors(rows, body, model)
        seconds.append(time.process_time() - started)
    assert seconds[2] < 2 * seconds[3] + 0.5
