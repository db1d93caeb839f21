"""The fields of a trim."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.fields import Color, Length
from pixelflow.imaging.step import Step


class Trim(Step):
    """Remove a border of one color."""

    action: Literal["trim"]
    threshold: Annotated[
        int,
        Field(
            strict=True,
            ge=0,
            le=255,
            description="Largest difference to the border's color, in any channel, of a pixel that belongs to the "
            "border. 0: exactly this color. JPEG needs about 10.",
        ),
    ] = 10
    color: Annotated[
        Color | None,
        Field(
            description="Color of the border. Default: the color of most corners.",
            examples=["#ffffff"],
        ),
    ] = None
    padding: Annotated[
        Length,
        Field(
            description="How much of the border to keep on each side: pixels, or a percentage of the image's shorter "
            "side."
        ),
    ] = 0
