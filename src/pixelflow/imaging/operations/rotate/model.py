"""The fields of a rotation."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.fields import Degrees
from pixelflow.imaging.step import Step


class Canvas(StrEnum):
    """Which part of the turned image the result shows."""

    EXPAND = "expand"
    """All of it: the result becomes larger."""
    KEEP = "keep"
    """As much as there is space for in the size of the input."""
    INNER = "inner"
    """The largest part without any background."""


class Rotate(Step):
    """Turn an image around its center."""

    action: Literal["rotate"]
    angle: Annotated[
        Degrees, Field(description="Degrees, clockwise. Multiples of 90 keep every pixel as it is.", examples=[90])
    ]
    canvas: Annotated[
        Canvas,
        Field(
            description="Size of the result. `expand`: the whole image is visible. `keep`: the size of the input; the "
            "corners are cut off. `inner`: the largest part of the image without `background`."
        ),
    ] = Canvas.EXPAND
