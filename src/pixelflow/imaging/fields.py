"""Types of the fields of steps: lengths, colors and texts, as the API writes them."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

MAX_DIMENSION = 16_384
"""Largest width or height that a step may request, in pixels. Formats with a lower limit are checked separately."""

STEP_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
COLOR_PATTERN = r"^#([0-9a-fA-F]{6}|[0-9a-fA-F]{8})$"
PERCENT_PATTERN = r"^(100|[1-9]?[0-9](\.[0-9]{1,2})?)%$"


class StrictModel(BaseModel):
    """A part of a request: unknown fields are errors, and no error repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def with_message(message: str) -> WrapValidator:
    """Report errors of a union as one ``message``: Pydantic reports one error for each member."""

    def validate_union(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("union", message) from None

    return WrapValidator(validate_union)


StepId = Annotated[str, StringConstraints(pattern=STEP_ID_PATTERN)]
AssetReference = Annotated[
    str,
    StringConstraints(pattern=STEP_ID_PATTERN),
    Field(description="Name or ID of an asset of yours.", examples=["logo"]),
]
Dimension = Annotated[int, Field(strict=True, ge=1, le=MAX_DIMENSION)]
Flag = Annotated[bool, Field(strict=True)]
Color = Annotated[str, StringConstraints(pattern=COLOR_PATTERN)]
"""``#rrggbb`` or ``#rrggbbaa``, sRGB."""
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


PositiveLength = Annotated[
    Annotated[int, Field(strict=True, ge=1, le=MAX_DIMENSION)] | Annotated[Percent, AfterValidator(_positive)],
    with_message(f'must be pixels (24) or a percentage ("4%"), over 0 and at most {MAX_DIMENSION} or "100%"'),
]
"""A ``Length`` over 0."""


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
