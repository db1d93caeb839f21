"""The fields of a watermark."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.fields import Color, Degrees, Flag, Length, Opacity, PositiveLength, StrictModel, Text
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.step import Step


class Font(StrEnum):
    """A font family that PixelFlow ships."""

    SANS = "sans"
    SERIF = "serif"
    MONO = "mono"


class WatermarkText(StrictModel):
    """A text to draw over an image."""

    text: Annotated[
        Text,
        Field(
            description="The text, in any script. Line breaks are kept; markup is not interpreted.",
            examples=["© Acme"],
        ),
    ]
    font: Annotated[Font, Field(description="Font family. Scripts that it lacks are drawn in a fallback font.")] = (
        Font.SANS
    )
    bold: Annotated[Flag, Field(description="Whether the text is bold.")] = False
    size: Annotated[
        PositiveLength,
        Field(
            description="Font size (em): pixels, or a percentage of the image's shorter side. A text that is too large "
            "for the image is reduced until it fits."
        ),
    ] = "5%"
    color: Annotated[
        Color, Field(description="Text color. An outline in a contrasting tone keeps the text readable on any image.")
    ] = "#ffffff"
    opacity: Annotated[Opacity, Field(description="Opacity of the text. 1 is opaque.")] = 0.65
    gravity: Annotated[Gravity, Field(description="Position of the text. Ignored if `tile` is true.")] = (
        Gravity.SOUTHEAST
    )
    margin: Annotated[
        Length,
        Field(
            description="Distance from the edges, at most a quarter of the image's shorter side; or between the "
            "repeated texts if `tile` is true."
        ),
    ] = "3%"
    rotation: Annotated[Degrees, Field(description="Clockwise rotation in degrees.")] = 0
    tile: Annotated[Flag, Field(description="Whether to repeat the text over the whole image.")] = False


class Watermark(Step):
    """Draw a text over an image."""

    action: Literal["watermark"]
    watermark: WatermarkText
