"""The fields of a gradient."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.blend import Blend
from pixelflow.imaging.fields import Color, Degrees, Percent, StrictModel, at_most
from pixelflow.imaging.step import Step

MAX_STOPS = 16
"""Colors of a gradient."""


class Stop(StrictModel):
    """A color at a place of a gradient."""

    color: Annotated[Color, Field(description="`#rrggbb`, or `#rrggbbaa` with transparency.", examples=["#000000c0"])]
    at: Annotated[
        Percent | None,
        Field(
            description="Place on the way from start to end. Default: `0%` for the first stop, `100%` for the last, "
            "and evenly between its neighbors for others."
        ),
    ] = None


class Gradient(Step):
    """Draw a linear gradient over an image."""

    action: Literal["gradient"]
    stops: Annotated[
        tuple[Stop, ...],
        Field(
            min_length=2,
            max_length=MAX_STOPS,
            description="The colors, from start to end.",
            examples=[[{"color": "#00000000"}, {"color": "#000000c0"}]],
        ),
        at_most(MAX_STOPS),
    ]
    angle: Annotated[
        Degrees,
        Field(description="Direction as in CSS: 0 is toward the top, 90 toward the right, 180 toward the bottom."),
    ] = 180
    blend: Annotated[
        Blend,
        Field(description="How the colors are combined with those below: `over`, or a blend mode as in CSS and PDF."),
    ] = Blend.OVER
