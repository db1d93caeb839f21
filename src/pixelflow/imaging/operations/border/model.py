"""The fields of a border."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.fields import Color, PositiveLength, Radius
from pixelflow.imaging.step import Step


class Position(StrEnum):
    """Where a border is."""

    OUTSIDE = "outside"
    INSIDE = "inside"


class Border(Step):
    """Draw a frame around an image."""

    action: Literal["border"]
    width: Annotated[
        PositiveLength,
        Field(
            description="Width of the border: pixels, or a percentage of the image's shorter side.",
            examples=[8],
        ),
    ]
    color: Annotated[Color, Field(description="Color of the border. It can be translucent.")] = "#000000"
    position: Annotated[
        Position,
        Field(
            description="`outside` makes the image larger. `inside` keeps its size and covers its edges; the border is "
            "then narrower than half of the shorter side."
        ),
    ] = Position.OUTSIDE
    radius: Annotated[
        Radius,
        Field(
            description="Radius of the border's outer corners, in pixels or as a percentage of the image's shorter "
            "side; or an object with the radius of each corner. The inner corners match."
        ),
    ] = 0
