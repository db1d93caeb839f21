"""What requests may write where a step has a color or a format."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import ImageColor
from pydantic import TypeAdapter, ValidationError

from pixelflow.contracts.field_errors import field_errors
from pixelflow.imaging.color_names import COLOR_NAMES
from pixelflow.imaging.fields import Color
from pixelflow.imaging.formats.registry import FORMATS
from pixelflow.imaging.pipeline import Pipeline

COLOR: TypeAdapter[Any] = TypeAdapter(Color)
RESIZE = {"id": "a", "action": "resize", "width": 5}


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("#fff", "#ffffff"),
        ("#1aF", "#11aaFF"),
        ("#1aF8", "#11aaFF88"),
        ("#123456", "#123456"),
        ("#12345678", "#12345678"),
        ("white", "#ffffff"),
        ("RebeccaPurple", "#663399"),
        ("transparent", "#00000000"),
    ],
)
def test_a_color_has_one_of_two_forms_once_it_is_valid(text: str, color: str) -> None:
    assert COLOR.validate_python(text) == color


def test_the_named_colors_are_those_of_css() -> None:
    assert {name: color for name, color in COLOR_NAMES.items() if name != "transparent"} == {
        name: "#" + bytes(ImageColor.getrgb(name)).hex() for name in ImageColor.colormap
    }


@pytest.mark.parametrize("text", ["#ff", "#fffff", "#fffffff", "#ggg", "fff", "rgb(1,2,3)", "", " red", "a" * 21, 7])
def test_anything_else_is_no_color(text: object) -> None:
    with pytest.raises(ValidationError):
        COLOR.validate_python(text)


@pytest.mark.parametrize(
    ("color", "message"),
    [
        ("orrange", "must be a color such as #ff8800, or a CSS name such as `orange`; did you mean `orange`?"),
        ("light-blue", "must be a color such as #ff8800, or a CSS name such as `orange`; did you mean `lightblue`?"),
        ("ff8800", "must be a color such as #ff8800, or a CSS name such as `orange`; start it with `#`"),
        ("zzz", "must be a color such as #ff8800, or a CSS name such as `orange`"),
    ],
)
def test_a_wrong_color_has_a_message(color: str, message: str) -> None:
    steps = [{**RESIZE, "background": color}]
    with pytest.raises(ValidationError) as raised:
        TypeAdapter[Any](Pipeline).validate_python(steps)
    [error] = field_errors(raised.value.errors(), steps)
    assert (error.pointer, error.message) == ("/0/background", message)


def test_a_format_can_be_named_by_its_aliases() -> None:
    for format_ in FORMATS.values():
        for alias in format_.aliases if format_.writes else ():
            [step] = TypeAdapter[Any](Pipeline).validate_python([{**RESIZE, "format": alias}])
            assert step.format == format_.name
    assert FORMATS["jpeg"].aliases == ("jpg",)


def test_no_alias_is_ambiguous() -> None:
    names = [name for format_ in FORMATS.values() for name in (format_.name, *format_.aliases)]
    assert sorted(names) == sorted(set(names))
