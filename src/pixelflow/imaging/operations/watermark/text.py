"""Renders text as a mask, in any script that a bundled font covers.

A mask must never exceed the given maximum size.
"""

from __future__ import annotations

from math import cos, radians, sin
from typing import NamedTuple
from xml.sax.saxutils import escape

import pyvips

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.operations.watermark.model import Font, WatermarkText

_FAMILIES = {Font.SANS: "Noto Sans", Font.SERIF: "Noto Serif", Font.MONO: "Noto Sans Mono"}
_SAMPLE_SIZE = 16.0
"""Font size in pixels for measuring a text: precise enough, and 256 of the widest glyphs stay below `_MAX_SIDE`."""
_MAX_SIDE = 30_000
"""Maximum side of a mask in pixels: cairo draws nothing beyond 32,767."""
_OUTLINE_SPREAD = 0.04
"""Spread of the outline as a fraction of the font size."""
_OUTLINE_MAX = 6.0
"""Maximum spread in pixels: the cost of blurring grows with the spread."""
_OUTLINE_STRENGTH = 3.0
"""Factor that brightens the blurred text, for a solid outline instead of a soft glow."""


class TextMask(NamedTuple):
    """Two masks of the same size, with values from 0 to 255: the text and the outline around it."""

    face: pyvips.Image
    outline: pyvips.Image

    @property
    def size(self) -> Size:
        """Size of both masks in pixels."""
        return Size(self.face.width, self.face.height)


def render_text(mark: WatermarkText, em: float, max_size: Size) -> TextMask:
    """Render the text with a font size of ``em`` pixels, rotated, and reduced to fit ``max_size``."""
    max_size = Size(min(max_size.width, _MAX_SIDE), min(max_size.height, _MAX_SIDE))
    sample = _rasterize(mark, _SAMPLE_SIZE)
    rotated = _rotated_size(
        sample.width + 2 * _pad(_SAMPLE_SIZE), sample.height + 2 * _pad(_SAMPLE_SIZE), mark.rotation
    )
    em = max(1.0, min(em, _SAMPLE_SIZE * max_size.width / rotated[0], _SAMPLE_SIZE * max_size.height / rotated[1]))
    face = _padded(_rasterize(mark, em), _pad(em))
    if mark.rotation % 360:
        face = face.rotate(mark.rotation)
    return _with_outline(_shrink_to_fit(face, max_size), em)


def _rasterize(mark: WatermarkText, em: float) -> pyvips.Image:
    font = f"{_FAMILIES[mark.font]} {'Bold ' if mark.bold else ''}{em:.2f}"
    # At 72 dpi a point is a pixel. Pango parses markup, so the text is escaped.
    image = pyvips.Image.text(escape(mark.text), font=font, dpi=72, align=_alignment(mark))
    return image.copy_memory()


def _alignment(mark: WatermarkText) -> str:
    """Return the alignment of lines: toward the edge that the gravity names."""
    if mark.tile or mark.gravity in {Gravity.CENTER, Gravity.NORTH, Gravity.SOUTH}:
        return "centre"
    return "low" if "west" in mark.gravity.value else "high"


def _spread(em: float) -> float:
    return min(max(em * _OUTLINE_SPREAD, 0.7), _OUTLINE_MAX)


def _pad(em: float) -> int:
    """Return the padding in pixels that the outline needs on each side."""
    return round(3 * _spread(em))


def _padded(image: pyvips.Image, pad: int) -> pyvips.Image:
    return image.embed(pad, pad, image.width + 2 * pad, image.height + 2 * pad)


def _rotated_size(width: float, height: float, degrees: float) -> tuple[float, float]:
    """Return the bounding box of a rotated box."""
    across, along = abs(cos(radians(degrees))), abs(sin(radians(degrees)))
    return width * across + height * along, width * along + height * across


def _shrink_to_fit(face: pyvips.Image, max_size: Size) -> pyvips.Image:
    """Shrink the raster if rounding, or a font size below one pixel, made it exceed ``max_size``."""
    scale = min(max_size.width / face.width, max_size.height / face.height)
    if scale >= 1:
        return face
    return face.thumbnail_image(max(1, int(face.width * scale)), height=max(1, int(face.height * scale)), size="force")


def _with_outline(face: pyvips.Image, em: float) -> TextMask:
    face = face.copy_memory()
    outline = (face.gaussblur(_spread(em)) * _OUTLINE_STRENGTH).cast("uchar")
    return TextMask(face, outline.copy_memory())
