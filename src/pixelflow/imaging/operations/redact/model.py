"""The fields of a redaction."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.fields import Coordinate, Extent, OpaqueColor, StrictModel, at_most
from pixelflow.imaging.step import Step

MAX_REGIONS = 100
"""Regions of one step."""


class Method(StrEnum):
    """What a region becomes."""

    SOLID = "solid"
    """One color, which nothing of the image enters."""
    PIXELS = "pixels"
    """At most 4 × 4 cells of their mean colors, rounded."""
    BLUR = "blur"
    """The same colors, with smooth transitions."""


class Region(StrictModel):
    """A rectangle of an image. What is outside the image is ignored."""

    x: Annotated[
        Coordinate, Field(description="Left edge: pixels, or a percentage of the image's width.", examples=[120])
    ]
    y: Annotated[
        Coordinate, Field(description="Top edge: pixels, or a percentage of the image's height.", examples=[80])
    ]
    width: Annotated[Extent, Field(description="Pixels, or a percentage of the image's width.", examples=[64])]
    height: Annotated[Extent, Field(description="Pixels, or a percentage of the image's height.", examples=["10%"])]


class Redact(Step):
    """Make regions of an image unrecognizable."""

    action: Literal["redact"]
    regions: Annotated[
        tuple[Region, ...],
        Field(
            min_length=1,
            max_length=MAX_REGIONS,
            description="The regions. They may overlap.",
            examples=[[{"x": 120, "y": 80, "width": 64, "height": "10%"}]],
        ),
        at_most(MAX_REGIONS),
    ]
    method: Annotated[
        Method,
        Field(
            description="What the regions become. `solid`: the color `fill`. `pixels`: at most 4 × 4 cells of their "
            "rounded mean colors. `blur`: the same colors with smooth transitions. For text and numbers, use `solid`."
        ),
    ] = Method.SOLID
    fill: Annotated[OpaqueColor, Field(description="Color of `solid`.")] = "#000000"
