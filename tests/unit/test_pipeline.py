"""Which pipelines are valid, and the pointers to everything that is wrong with the others."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pixelflow.contracts.field_errors import field_errors
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.imaging.operations.resize.model import Resize
from pixelflow.imaging.operations.watermark.model import Watermark
from pixelflow.imaging.pipeline import Pipeline

RESIZE: dict[str, Any] = {"id": "a", "action": "resize", "width": 100}
WIDE: dict[str, Any] = {**RESIZE, "width": 16_384, "height": 16_384, "format": "webp"}
WATERMARK: dict[str, Any] = {"id": "a", "action": "watermark", "watermark": {"text": "© Acme"}}
PIPELINE: TypeAdapter[Any] = TypeAdapter(Pipeline)


def text(**fields: object) -> dict[str, Any]:
    return {**WATERMARK, "watermark": {"text": "x", **fields}}


def without(step: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name not in names}


VALID = [
    [RESIZE],
    [WATERMARK],
    [{**RESIZE, "id": "A-z_0"}, {**WATERMARK, "id": "a" * 64, "from": "A-z_0"}],
    [{**RESIZE, "output": False}, {**WATERMARK, "id": "b", "from": "a"}],
    [{**RESIZE, "height": 16_384, "fit": "cover", "gravity": "attention", "format": "avif", "quality": 100}],
    [{**RESIZE, "background": "#12345678"}],
    # Within the limit of WebP, or not known to exceed it
    [{**WIDE, "width": 16_383, "height": 16_383, "fit": "contain"}],
    [WIDE],
    [{**WIDE, "enlarge": True}],
    [{**WIDE, "fit": "cover"}],
    [{**WIDE, "fit": "fill"}],
    [{**WIDE, "height": None}],
    [{**WIDE, "fit": "contain", "format": None}],
    [text(size="2.5%", margin=0, color="#abcdef", rotation=-360, opacity=1, tile=True, font="mono", bold=True)],
    [text(text="two\nlines")],
    [text(text="x" * 256)],
]


@pytest.mark.parametrize("steps", VALID)
def test_a_valid_pipeline_survives_a_round_trip_through_json(steps: list[dict[str, Any]]) -> None:
    pipeline = PIPELINE.validate_python(steps)
    again = PIPELINE.validate_json(PIPELINE.dump_json(pipeline, by_alias=True))
    assert again == pipeline


INVALID = [
    # Steps and their names
    ([], {"/pipeline"}),
    ([{**RESIZE, "id": str(i)} for i in range(33)], {"/pipeline"}),
    ([RESIZE, RESIZE], {"/pipeline/1/id"}),
    ([{**RESIZE, "id": "source"}], {"/pipeline/0/id"}),
    ([{**RESIZE, "id": ""}], {"/pipeline/0/id"}),
    ([{**RESIZE, "id": "a" * 65}], {"/pipeline/0/id"}),
    ([{**RESIZE, "id": "../../etc/passwd"}], {"/pipeline/0/id"}),
    ([{**RESIZE, "id": "a/b"}], {"/pipeline/0/id"}),
    ([{**RESIZE, "id": "a.b"}], {"/pipeline/0/id"}),
    ([{**RESIZE, "id": "a\n"}], {"/pipeline/0/id"}),
    ([{**RESIZE, "id": "a\0"}], {"/pipeline/0/id"}),
    ([{**RESIZE, "id": "é"}], {"/pipeline/0/id"}),
    ([{**RESIZE, "id": 7}], {"/pipeline/0/id"}),
    ([without(RESIZE, "id")], {"/pipeline/0/id"}),
    # The tree
    ([{**RESIZE, "from": "missing"}], {"/pipeline/0/from"}),
    ([{**RESIZE, "from": "a"}], {"/pipeline/0/from"}),
    ([{**RESIZE, "from": "b"}, {**RESIZE, "id": "b"}], {"/pipeline/0/from"}),
    ([{**RESIZE, "from_": "source"}], {"/pipeline/0/from_"}),
    ([{**RESIZE, "output": False}], {"/pipeline"}),
    ([{**RESIZE, "output": "no"}], {"/pipeline/0/output"}),
    # Actions and fields
    ([without(RESIZE, "action")], {"/pipeline/0/action"}),
    ([{**RESIZE, "action": "explode"}], {"/pipeline/0/action"}),
    ([{**RESIZE, "widht": 5}], {"/pipeline/0/widht"}),
    ([{**RESIZE, "watermark": {"text": "x"}}], {"/pipeline/0/watermark"}),
    ([{**WATERMARK, "width": 5}], {"/pipeline/0/width"}),
    ([without(WATERMARK, "watermark")], {"/pipeline/0/watermark"}),
    # Sizes
    ([without(RESIZE, "width")], {"/pipeline/0"}),
    ([{**RESIZE, "width": 0}], {"/pipeline/0/width"}),
    ([{**RESIZE, "width": -1}], {"/pipeline/0/width"}),
    ([{**RESIZE, "width": 10**9}], {"/pipeline/0/width"}),
    ([{**RESIZE, "height": 16_385}], {"/pipeline/0/height"}),
    ([{**RESIZE, "width": 1.5}], {"/pipeline/0/width"}),
    ([{**RESIZE, "width": "100"}], {"/pipeline/0/width"}),
    ([{**RESIZE, "width": True}], {"/pipeline/0/width"}),
    ([{**RESIZE, "width": 16_384, "enlarge": True, "format": "webp"}], {"/pipeline/0/width"}),
    ([{**WIDE, "fit": "contain"}], {"/pipeline/0/width", "/pipeline/0/height"}),
    ([{**WIDE, "fit": "cover", "enlarge": True}], {"/pipeline/0/width", "/pipeline/0/height"}),
    ([{**WIDE, "height": 9, "fit": "fill", "enlarge": True}], {"/pipeline/0/width"}),
    ([{**RESIZE, "fit": "squeeze"}], {"/pipeline/0/fit"}),
    ([{**RESIZE, "gravity": "up"}], {"/pipeline/0/gravity"}),
    ([{**RESIZE, "enlarge": 1}], {"/pipeline/0/enlarge"}),
    # Formats
    ([{**RESIZE, "format": "bmp"}], {"/pipeline/0/format"}),
    ([{**RESIZE, "format": "JPEG"}], {"/pipeline/0/format"}),
    ([{**RESIZE, "quality": 0}], {"/pipeline/0/quality"}),
    ([{**RESIZE, "quality": 101}], {"/pipeline/0/quality"}),
    ([{**RESIZE, "background": "reddish"}], {"/pipeline/0/background"}),
    ([{**RESIZE, "background": "#12345"}], {"/pipeline/0/background"}),
    ([{**RESIZE, "background": "#1234567g"}], {"/pipeline/0/background"}),
    # Texts
    ([text(text="")], {"/pipeline/0/watermark/text"}),
    ([text(text="  \n ")], {"/pipeline/0/watermark/text"}),
    ([text(text="\u200b\u2060")], {"/pipeline/0/watermark/text"}),
    ([text(text="x" * 257)], {"/pipeline/0/watermark/text"}),
    ([text(text="a\0b")], {"/pipeline/0/watermark/text"}),
    ([text(text="a\x1b[31m")], {"/pipeline/0/watermark/text"}),
    ([text(text="a\tb")], {"/pipeline/0/watermark/text"}),
    ([text(font="comic")], {"/pipeline/0/watermark/font"}),
    ([text(size=0)], {"/pipeline/0/watermark/size"}),
    ([text(size="0%")], {"/pipeline/0/watermark/size"}),
    ([text(size=10**9)], {"/pipeline/0/watermark/size"}),
    ([text(size="101%")], {"/pipeline/0/watermark/size"}),
    ([text(size="100.5%")], {"/pipeline/0/watermark/size"}),
    ([text(size="-5%")], {"/pipeline/0/watermark/size"}),
    ([text(margin=-1)], {"/pipeline/0/watermark/margin"}),
    ([text(margin="wide")], {"/pipeline/0/watermark/margin"}),
    ([text(color="#fffff")], {"/pipeline/0/watermark/color"}),
    ([text(opacity=0)], {"/pipeline/0/watermark/opacity"}),
    ([text(opacity=1.01)], {"/pipeline/0/watermark/opacity"}),
    ([text(opacity=float("nan"))], {"/pipeline/0/watermark/opacity"}),
    ([text(rotation=361)], {"/pipeline/0/watermark/rotation"}),
    ([text(rotation=float("inf"))], {"/pipeline/0/watermark/rotation"}),
    ([text(gravity="attention")], {"/pipeline/0/watermark/gravity"}),
    ([text(shadow=True)], {"/pipeline/0/watermark/shadow"}),
    # All at once
    (
        [{**RESIZE, "width": 0, "quality": 101}, {**RESIZE, "from": "x", "format": "bmp"}],
        {"/pipeline/0/width", "/pipeline/0/quality", "/pipeline/1/format", "/pipeline/1/id", "/pipeline/1/from"},
    ),
]


JARGON = re.compile(r"Value error|[A-Z]\w+ should|Input|Field required|inputs are")
"""Phrases of Pydantic's own messages, which must not reach clients."""


@pytest.mark.parametrize(("steps", "pointers"), INVALID, ids=[json.dumps(steps)[:90] for steps, _ in INVALID])
def test_an_invalid_pipeline_is_rejected_with_pointers_to_all_errors(steps: list[Any], pointers: set[str]) -> None:
    body = {"pipeline": steps}
    with pytest.raises(ValidationError) as raised:
        CreateJobRequest.model_validate(body)
    errors = field_errors(raised.value.errors(include_url=False), body)
    assert {error.pointer for error in errors} == pointers
    assert all(error.message and not JARGON.search(error.message) for error in errors)


@pytest.mark.parametrize("steps", [None, 5, "x", {}, [None], [5], [[]], ["x"]])
def test_a_value_that_is_not_a_list_of_steps_is_rejected(steps: object) -> None:
    with pytest.raises(ValidationError):
        PIPELINE.validate_python(steps)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "from", "output", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_either_valid_or_rejected_with_messages(value: object) -> None:
    body = {"pipeline": value}
    try:
        CreateJobRequest.model_validate(body)
    except ValidationError as error:
        errors = field_errors(error.errors(include_url=False), body)
        assert errors
        assert all(row.message and row.pointer.startswith("/pipeline") for row in errors)


def test_the_errors_of_steps_are_reported_with_the_error_of_a_list_that_is_too_long() -> None:
    steps = [{**RESIZE, "id": f"s{n}"} for n in range(40)]
    body = {"pipeline": [{**RESIZE, "width": 0}, {**RESIZE, "from": "x"}, *steps]}
    with pytest.raises(ValidationError) as raised:
        CreateJobRequest.model_validate(body)
    pointers = [error.pointer for error in field_errors(raised.value.errors(), body)]
    assert pointers == ["/pipeline", "/pipeline/0/width", "/pipeline/1/from", "/pipeline/1/id"]


def test_steps_that_are_models_are_checked_as_a_tree() -> None:
    step = Resize(id="a", action="resize", width=1, output=False)
    assert PIPELINE.validate_python([step, Watermark.model_validate({**WATERMARK, "id": "b", "from": "a"})])
    with pytest.raises(ValidationError) as raised:
        PIPELINE.validate_python([step, step])
    assert [row["loc"] for row in raised.value.errors()] == [(1, "id"), ()]


@pytest.mark.parametrize(
    "steps",
    [
        [{"id": "hunter2", "action": "resize", "width": 1}] * 2,
        [{"id": "a", "action": "resize", "from": "hunter2", "quality": "hunter2"}],
        [{"id": "a", "action": "watermark", "watermark": {"text": "hunter2\0"}}],
    ],
)
def test_an_error_never_repeats_a_value(steps: list[Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        CreateJobRequest.model_validate({"pipeline": steps})
    assert "hunter2" not in str(raised.value) + repr(raised.value)
    rows = raised.value.errors(include_url=False, include_input=False)
    assert "hunter2" not in str(rows)


def test_steps_have_the_documented_defaults() -> None:
    resize, watermark = PIPELINE.validate_python([RESIZE, {**WATERMARK, "id": "b"}])
    assert (resize.from_, resize.fit, resize.gravity, resize.enlarge, resize.linear) == (
        "source",
        "inside",
        "center",
        False,
        False,
    )
    assert (watermark.watermark.opacity, watermark.watermark.gravity) == (0.65, "southeast")
