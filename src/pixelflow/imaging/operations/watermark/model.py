"""The fields of a watermark."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.fields import (
    Color,
    Degrees,
    Extent,
    Flag,
    Length,
    Opacity,
    PositiveLength,
    SignedLength,
    StrictModel,
    Text,
)
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.placement import ImageReference
from pixelflow.imaging.step import Step


class Font(StrEnum):
    """A font family that PixelFlow ships."""

    SANS = "sans"
    SERIF = "serif"
    MONO = "mono"


class Align(StrEnum):
    """Where the lines of a text start or end."""

    LEFT = "left"
    CENTER = "center"
    RIGHT = "right"


class Stroke(StrictModel):
    """A line around each letter."""

    width: Annotated[
        PositiveLength,
        Field(description="Pixels, or a percentage of the image's shorter side; at most a quarter of the font size."),
    ] = "0.3%"
    color: Annotated[Color, Field(description="Color of the line.")] = "#000000"


class Shadow(StrictModel):
    """A shadow of the letters, with their stroke."""

    x: Annotated[
        SignedLength,
        Field(description="Distance to the right, or to the left if negative; at most the font size."),
    ] = "0.4%"
    y: Annotated[
        SignedLength, Field(description="Distance downward, or upward if negative; at most the font size.")
    ] = "0.4%"
    blur: Annotated[
        Length, Field(description="Standard deviation of its blur; at most half the font size. 0: a sharp shadow.")
    ] = "0.3%"
    color: Annotated[Color, Field(description="Color of the shadow.")] = "#000000"
    opacity: Annotated[Opacity, Field(description="Opacity of the shadow. 1 is opaque.")] = 0.6


class Box(StrictModel):
    """A background of the text."""

    color: Annotated[Color, Field(description="Color of the box.")] = "#000000a0"
    padding: Annotated[
        Length, Field(description="Distance between the text and the edges of the box; at most the font size.")
    ] = "2%"
    radius: Annotated[Length, Field(description="Radius of rounded corners.")] = 0


class Mark(StrictModel):
    """A text or a picture to draw over an image."""

    fields_since: ClassVar = {
        "image": 2,
        "width": 2,
        "height": 2,
        "stroke": 2,
        "shadow": 2,
        "box": 2,
        "max_width": 2,
        "align": 2,
        "line_height": 2,
    }

    text: Annotated[
        Text | None,
        Field(
            description="The text, in any script. Line breaks are kept; markup is not interpreted. Emoji have their "
            "colors. Exactly one of `text` and `image` must be set.",
            examples=["© Acme"],
        ),
    ] = None
    image: Annotated[ImageReference | None, Field(description="A picture to draw, such as a logo.")] = None
    width: Annotated[
        Extent | None,
        Field(
            description="Width of `image`: pixels, or a percentage of the image's width. The aspect ratio is kept. "
            "Default, unless `height` is set: `20%`."
        ),
    ] = None
    height: Annotated[
        Extent | None, Field(description="Height of `image`: pixels, or a percentage of the image's height.")
    ] = None
    font: Annotated[Font, Field(description="Font family. Scripts that it lacks are drawn in a fallback font.")] = (
        Font.SANS
    )
    bold: Annotated[Flag, Field(description="Whether the text is bold.")] = False
    size: Annotated[
        PositiveLength,
        Field(
            description="Font size (em): pixels, or a percentage of the image's shorter side. A text that is too large "
            "for the image is reduced until it fits, with everything around it."
        ),
    ] = "5%"
    color: Annotated[
        Color,
        Field(
            description="Text color. An outline in a contrasting tone keeps the text readable on any image, unless "
            "`stroke`, `shadow` or `box` is set."
        ),
    ] = "#ffffff"
    stroke: Annotated[Stroke | None, Field(description="A line around each letter.")] = None
    shadow: Annotated[Shadow | None, Field(description="A shadow of the letters.")] = None
    box: Annotated[Box | None, Field(description="A background of the text.")] = None
    max_width: Annotated[
        Extent | None,
        Field(
            description="Width at which lines are wrapped: pixels, or a percentage of the image's width. Words that "
            "are longer are broken. Default: lines end where the text has a line break."
        ),
    ] = None
    align: Annotated[
        Align | None, Field(description="Alignment of several lines. Default: toward the edge that `gravity` names.")
    ] = None
    line_height: Annotated[
        float,
        Field(
            strict=True,
            ge=1,
            le=4,
            allow_inf_nan=False,
            description="Distance of lines, as a multiple of the font's own.",
        ),
    ] = 1
    opacity: Annotated[Opacity, Field(description="Opacity of everything that is drawn. 1 is opaque.")] = 0.65
    gravity: Annotated[Gravity, Field(description="Position in the image. Ignored if `tile` is true.")] = (
        Gravity.SOUTHEAST
    )
    margin: Annotated[
        Length,
        Field(
            description="Distance from the edges, at most a quarter of the image's shorter side; or between the "
            "repeated marks if `tile` is true."
        ),
    ] = "3%"
    rotation: Annotated[Degrees, Field(description="Clockwise rotation in degrees.")] = 0
    tile: Annotated[Flag, Field(description="Whether to repeat the mark over the whole image.")] = False

    @model_validator(mode="wrap")
    @classmethod
    def _check_mark(
        cls,
        value: Any,  # noqa: ANN401 - any input
        handler: ModelWrapValidatorHandler[Self],
    ) -> Self:
        return validate(value, handler, _mark_errors)


_OF_IMAGES = ("width", "height")
_OF_TEXTS = (
    "font",
    "bold",
    "size",
    "color",
    "stroke",
    "shadow",
    "box",
    "max_width",
    "align",
    "line_height",
)


def _mark_errors(mark: object) -> Iterator[CrossFieldError]:
    fields = fields_of(mark)
    if fields is None:
        return
    set_ = mark.model_fields_set if isinstance(mark, Mark) else fields
    text, image = fields.get("text") is not None, fields.get("image") is not None
    if text and image:
        yield ("image",), "can't be combined with `text`"
    elif not text and not image:
        yield ("text",), "is required, or `image`"
    if text != image:
        without = "text" if text else "image"
        for name in _OF_IMAGES if text else _OF_TEXTS:
            if name in set_ and fields.get(name) is not None:
                yield (name,), f"can't be combined with `{without}`"


class Watermark(Step):
    """Draw a text or a picture over an image."""

    action: Literal["watermark"]
    watermark: Annotated[Mark, Field(description="The text or the picture.", examples=[{"text": "© Acme"}])]
