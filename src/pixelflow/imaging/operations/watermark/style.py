"""What is around the letters of a text, in multiples of its font size, so that it grows and shrinks with the text."""

from __future__ import annotations

from typing import NamedTuple

from pixelflow.imaging.geometry import Size, length
from pixelflow.imaging.operations.watermark.model import Mark

_OUTLINE_SPREAD = 0.04
"""Spread of the outline as a fraction of the font size."""
_OUTLINE_MIN, _OUTLINE_MAX = 0.7, 6.0
"""Bounds of the spread in pixels: the cost of blurring grows with the spread."""
_MAX_STROKE, _MAX_BLUR, _MAX_OFFSET, _MAX_PADDING = 0.25, 0.5, 1.0, 1.0
_BLUR_REACH = 3
"""A Gaussian ends at this many standard deviations."""


class Style(NamedTuple):
    """Lengths in ems."""

    wrap: float | None
    stroke: float
    shadow: tuple[float, float]
    """To the right and down."""
    blur: float
    padding: float
    radius: float


class Pads(NamedTuple):
    """Space around the letters, in pixels."""

    left: int
    top: int
    right: int
    bottom: int


def style_of(mark: Mark, em: float, canvas: Size) -> Style:
    """Return the style for a font size of ``em`` pixels on an image of the size ``canvas``."""

    def ems(value: int | str, most: float) -> float:
        return max(-most, min(most, length(value, canvas.shorter) / em))

    stroke, shadow, box = mark.stroke, mark.shadow, mark.box
    return Style(
        wrap=None if mark.max_width is None else length(mark.max_width, canvas.width) / em,
        stroke=ems(stroke.width, _MAX_STROKE) if stroke else 0,
        shadow=(ems(shadow.x, _MAX_OFFSET), ems(shadow.y, _MAX_OFFSET)) if shadow else (0, 0),
        blur=ems(shadow.blur, _MAX_BLUR) if shadow else 0,
        padding=ems(box.padding, _MAX_PADDING) if box else 0,
        radius=length(box.radius, canvas.shorter) / em if box else 0,
    )


def outline_spread(em: float) -> float:
    """Return the spread in pixels of the outline that texts without a style have."""
    return min(max(em * _OUTLINE_SPREAD, _OUTLINE_MIN), _OUTLINE_MAX)


def pads_of(mark: Mark, style: Style, em: float) -> Pads:
    """Return the space that the style needs around the letters at a font size of ``em`` pixels."""
    stroke, padding = style.stroke * em, style.padding * em
    inner = 0.0 if mark.stroke or mark.shadow or mark.box else _BLUR_REACH * outline_spread(em)
    around = max(stroke + padding + 1 if mark.stroke or mark.box else 0, inner)
    if mark.shadow is None:
        return Pads(*[round(around)] * 4)
    reach = stroke + _BLUR_REACH * style.blur * em
    across, down = (each * em for each in style.shadow)
    sides = (reach - across, reach - down, reach + across, reach + down)
    return Pads(*(round(max(around, side)) for side in sides))
