"""Types of the fields of steps: lengths, colors and texts, as the API writes them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from pixelflow.imaging.color_names import COLOR_NAMES

MAX_DIMENSION = 16_384
"""Largest width or height that a step may request, in pixels. Formats with a lower limit are checked separately."""

MAX_COORDINATE = 65_535
"""Largest position in an image that a step may name, in pixels."""

STEP_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
COLOR_PATTERN = r"^(#[0-9a-fA-F]{3,4}|#[0-9a-fA-F]{6}|#[0-9a-fA-F]{8}|[a-zA-Z]{3,20})$"
OPAQUE_COLOR_PATTERN = r"^(#[0-9a-fA-F]{3}|#[0-9a-fA-F]{6}|[a-zA-Z]{3,20})$"
RATIO_PATTERN = r"^[0-9]{1,5}(\.[0-9]{1,3})?:[0-9]{1,5}(\.[0-9]{1,3})?$"
PERCENT_PATTERN = r"^(100|[1-9]?[0-9](\.[0-9]{1,2})?)%$"
SIGNED_PERCENT_PATTERN = PERCENT_PATTERN.replace("^", "^-?", 1)


class StrictModel(BaseModel):
    """A part of a request: unknown fields are errors, and no error repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    fields_since: ClassVar[Mapping[str, int]] = {}
    """The contract that introduced a field, if it is newer than the model (``contracts.capabilities``)."""


def with_message(message: str) -> WrapValidator:
    """Report errors of a union as one ``message``: Pydantic reports one error for each member."""

    def validate_union(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("union", message) from None

    return WrapValidator(validate_union)


def at_most(entries: int) -> BeforeValidator:
    """Refuse a longer array before its entries are validated: for tuples, Pydantic compares the length afterwards."""

    def check_length(value: object) -> object:
        if isinstance(value, list | tuple) and len(value) > entries:
            context = {"field_type": "Tuple", "max_length": entries, "actual_length": len(value)}
            raise PydanticKnownError("too_long", context)
        return value

    return BeforeValidator(check_length)


StepId = Annotated[str, StringConstraints(pattern=STEP_ID_PATTERN)]
Dimension = Annotated[int, Field(strict=True, ge=1, le=MAX_DIMENSION)]
Flag = Annotated[bool, Field(strict=True)]


def _long_color(text: str) -> str:
    """Return a color in the form that operations read: ``#rrggbb`` or ``#rrggbbaa``."""
    if not text.startswith("#"):
        if (named := COLOR_NAMES.get(text.lower())) is None:
            raise PydanticCustomError("color_name", "must be a color such as #ff8800, or a CSS name such as `orange`")
        return named
    return text if len(text) > _SHORT_COLOR else "#" + "".join(digit * 2 for digit in text[1:])


_SHORT_COLOR = len("#rgba")
Color = Annotated[str, StringConstraints(pattern=COLOR_PATTERN), AfterValidator(_long_color)]
"""An sRGB color. Requests may write ``#rgb``, ``#rgba``, ``#rrggbb``, ``#rrggbbaa`` or a name of CSS."""


def _opaque(color: str) -> str:
    if len(color) > len("#rrggbb"):
        raise PydanticCustomError("color_alpha", "must be an opaque color such as #ff8800")
    return color


OpaqueColor = Annotated[
    str, StringConstraints(pattern=OPAQUE_COLOR_PATTERN), AfterValidator(_long_color), AfterValidator(_opaque)
]
"""An sRGB color without alpha."""
Opacity = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
"""1 is opaque."""
Degrees = Annotated[float, Field(strict=True, ge=-360, le=360, allow_inf_nan=False)]
"""Clockwise."""
Percent = Annotated[str, StringConstraints(pattern=PERCENT_PATTERN)]
"""A percentage of the image's shorter side, such as ``4%`` or ``2.5%``."""
Length = Annotated[
    Annotated[int, Field(strict=True, ge=0, le=MAX_DIMENSION)] | Percent,
    with_message(f'must be pixels (24) or a percentage ("4%"), at most {MAX_DIMENSION} or "100%"'),
]
"""Pixels of the image that is drawn on, or a percentage of its shorter side."""


def _positive(percent: str) -> str:
    if float(percent.rstrip("%")) == 0:
        raise PydanticCustomError("not_positive", "must be over 0%")
    return percent


SignedLength = Annotated[
    Annotated[int, Field(strict=True, ge=-MAX_DIMENSION, le=MAX_DIMENSION)]
    | Annotated[str, StringConstraints(pattern=SIGNED_PERCENT_PATTERN)],
    with_message(f'must be pixels (-8) or a percentage ("-1%"), at most {MAX_DIMENSION} or "100%" in each direction'),
]
"""A ``Length`` in either direction."""
PositiveLength = Annotated[
    Annotated[int, Field(strict=True, ge=1, le=MAX_DIMENSION)] | Annotated[Percent, AfterValidator(_positive)],
    with_message(f'must be pixels (24) or a percentage ("4%"), over 0 and at most {MAX_DIMENSION} or "100%"'),
]
"""A ``Length`` over 0."""
MAX_SIGMA = 1000
Sigma = Annotated[
    Annotated[float, Field(strict=True, gt=0, le=MAX_SIGMA, allow_inf_nan=False)]
    | Annotated[Percent, AfterValidator(_positive)],
    with_message(f'must be pixels (1.5) or a percentage ("1%"), over 0 and at most {MAX_SIGMA} or "100%"'),
]
"""Standard deviation of a Gaussian: pixels, or a percentage of the image's shorter side."""
Extent = Annotated[
    Dimension | Annotated[Percent, AfterValidator(_positive)],
    with_message(f'must be pixels (240) or a percentage ("50%"), over 0 and at most {MAX_DIMENSION} or "100%"'),
]
"""Pixels of a side of the image, or a percentage of that side."""
Coordinate = Annotated[
    Annotated[int, Field(strict=True, ge=0, le=MAX_COORDINATE)] | Percent,
    with_message(f'must be pixels (24) or a percentage ("10%"), at most {MAX_COORDINATE} or "100%"'),
]
"""Distance from the left or top edge of the image: pixels, or a percentage of its width or height."""
MAX_RATIO = 1000
"""Largest ratio of one side to the other that a step may request."""


def _in_range(ratio: str | float) -> str | float:
    width, height = map(Fraction, ratio.split(":")) if isinstance(ratio, str) else (Fraction(ratio), Fraction(1))
    if not (width and height and Fraction(1, MAX_RATIO) <= width / height <= MAX_RATIO):
        raise PydanticCustomError("ratio", "outside the range")
    return ratio


Ratio = Annotated[
    Annotated[str, StringConstraints(pattern=RATIO_PATTERN)]
    | Annotated[float, Field(strict=True, gt=0, le=MAX_RATIO, allow_inf_nan=False)],
    AfterValidator(_in_range),
    with_message(f'must be two numbers ("16:9") or one number (1.5), from "1:{MAX_RATIO}" to "{MAX_RATIO}:1"'),
]
"""Width to height, as two numbers or as one."""

Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class FocalPoint(StrictModel):
    """The point of an image that must stay visible, as shares of its width and height."""

    x: Annotated[Share, Field(description="From the left edge: 0 is the left edge, 1 the right one.", examples=[0.3])]
    y: Annotated[Share, Field(description="From the top: 0 is the top edge, 1 the bottom one.", examples=[0.7])]


class Corners(StrictModel):
    """Radii of the corners: pixels, or a percentage of the image's shorter side."""

    top_left: Annotated[Length, Field(description="Radius of the top left corner.")] = 0
    top_right: Annotated[Length, Field(description="Radius of the top right corner.")] = 0
    bottom_right: Annotated[Length, Field(description="Radius of the bottom right corner.")] = 0
    bottom_left: Annotated[Length, Field(description="Radius of the bottom left corner.")] = 0


Radius = Annotated[
    Corners | Length,
    with_message('must be pixels (24), a percentage ("50%"), or an object with radii such as `top_left`'),
]
"""The radius of all corners, or of each. Radii that overlap are reduced as in CSS."""


def _printable(text: str) -> str:
    if all(unicodedata.category(char)[0] in "ZC" for char in text):
        raise PydanticCustomError("blank_text", "must have at least one visible character")
    if any(unicodedata.category(char) in {"Cc", "Cs", "Co"} and char != "\n" for char in text):
        raise PydanticCustomError("control_character", "must not have control characters other than a line break")
    return text


MAX_TEXT = 256
"""Characters of a text that a step draws."""
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), AfterValidator(_printable)]
"""A text to draw: has a visible character, and no control characters other than line breaks."""
