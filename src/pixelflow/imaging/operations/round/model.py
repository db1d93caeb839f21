"""The fields of rounded corners."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.fields import Radius
from pixelflow.imaging.step import Step


class Round(Step):
    """Round the corners of an image."""

    action: Literal["round"]
    radius: Annotated[
        Radius,
        Field(
            description="Radius of all corners, in pixels or as a percentage of the image's shorter side; or an object "
            "with the radius of each corner. `50%` makes a circle of a square image.",
            examples=["50%", 24, {"top_left": 24}],
        ),
    ]
