"""The fields of an overlay."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.blend import Blend
from pixelflow.imaging.fields import Coordinate, Degrees, Extent, Flag, Length, Opacity
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.placement import ImageReference
from pixelflow.imaging.step import Step


class Overlay(Step):
    """Draw another picture over an image."""

    action: Literal["overlay"]
    image: Annotated[ImageReference, Field(description="The picture to draw.", examples=[{"asset": "logo"}])]
    width: Annotated[
        Extent | None,
        Field(
            description="Width at which it is drawn, before rotation: pixels, or a percentage of the image's width. "
            "The aspect ratio is kept; with `height` too, the picture fits in both. Default of both: its own size."
        ),
    ] = None
    height: Annotated[
        Extent | None,
        Field(description="Height at which it is drawn: pixels, or a percentage of the image's height."),
    ] = None
    gravity: Annotated[Gravity, Field(description="Position in the image. Ignored if `tile` is true.")] = Gravity.CENTER
    margin: Annotated[
        Length,
        Field(
            description="Distance from the edges that `gravity` names: pixels, or a percentage of the image's shorter "
            "side, at most a quarter of it; or the gap between repeated pictures if `tile` is true."
        ),
    ] = 0
    x: Annotated[
        Coordinate | None,
        Field(description="Distance of its left edge from the image's left edge, instead of `gravity` and `margin`."),
    ] = None
    y: Annotated[
        Coordinate | None,
        Field(description="Distance of its top edge from the image's top edge, instead of `gravity` and `margin`."),
    ] = None
    rotation: Annotated[Degrees, Field(description="Clockwise rotation in degrees.")] = 0
    opacity: Annotated[Opacity, Field(description="Opacity of the picture. 1 leaves its own transparency.")] = 1
    blend: Annotated[
        Blend,
        Field(description="How its colors are combined with those below: `over`, or a blend mode as in CSS and PDF."),
    ] = Blend.OVER
    tile: Annotated[Flag, Field(description="Whether to repeat the picture over the whole image.")] = False
    overflow: Annotated[
        Flag,
        Field(
            description="Whether it may extend beyond the image, where it is cut. If `false`, a picture that is too "
            "large is reduced, and one that would cross an edge is moved."
        ),
    ] = False
