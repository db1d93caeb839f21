"""The fields of a pixelation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.fields import PositiveLength
from pixelflow.imaging.step import Step


class Pixelate(Step):
    """Replace squares of an image by their mean color."""

    action: Literal["pixelate"]
    size: Annotated[
        PositiveLength,
        Field(description="Side of a square: pixels, or a percentage of the image's shorter side, at least one pixel."),
    ] = "3%"
