"""Letters: a text as a mask, in any script that a carried font has.

It must never become larger than the room it is given.
"""

from __future__ import annotations

from math import cos, radians, sin
from typing import NamedTuple
from xml.sax.saxutils import escape

import pyvips

from pixelflow.contracts.gravity import Gravity
from pixelflow.contracts.pipeline import Font, WatermarkText
from pixelflow.dataplane.imaging.geometry import Size

_FAMILIES = {Font.SANS: "Noto Sans", Font.SERIF: "Noto Serif", Font.MONO: "Noto Sans Mono"}
_SAMPLE = 16.0
"""Size in pixels at which a text is measured: exact enough, and 256 of the widest letters stay below `_LONGEST`."""
_LONGEST = 30_000
"""Pixels that a side of a text may have: cairo draws nothing beyond 32,767."""
_HALO = 0.04
"""Spread of the outline as a share of the letters' size."""
_HALO_MAX = 6.0
"""Its most, in pixels: blurring costs by the spread, whatever the letters' size."""
_HALO_STRENGTH = 3.0
"""How far the blurred letters are raised, for an outline rather than a mist."""


class Letters(NamedTuple):
    """Two masks of the same size, 0 to 255: the letters, and the outline around them."""

    face: pyvips.Image
    outline: pyvips.Image

    @property
    def size(self) -> Size:
        """Pixels."""
        return Size(self.face.width, self.face.height)


def letters(mark: WatermarkText, em: float, room: Size) -> Letters:
    """The text with letters of ``em`` pixels, turned, and smaller if the room demands it."""
    room = Size(min(room.width, _LONGEST), min(room.height, _LONGEST))
    sample = _drawn(mark, _SAMPLE)
    turned = _turned_size(sample.width + 2 * _pad(_SAMPLE), sample.height + 2 * _pad(_SAMPLE), mark.rotation)
    em = max(1.0, min(em, _SAMPLE * room.width / turned[0], _SAMPLE * room.height / turned[1]))
    face = _padded(_drawn(mark, em), _pad(em))
    if mark.rotation % 360:
        face = face.rotate(mark.rotation)
    return _with_outline(_within(face, room), em)


def _drawn(mark: WatermarkText, em: float) -> pyvips.Image:
    font = f"{_FAMILIES[mark.font]} {'Bold ' if mark.bold else ''}{em:.2f}"
    # 72 dots per inch make a point a pixel; Pango reads markup, so the text must not be any.
    image = pyvips.Image.text(escape(mark.text), font=font, dpi=72, align=_alignment(mark))
    return image.copy_memory()


def _alignment(mark: WatermarkText) -> str:
    """Lines of a text stand flush with the edge that the text stands at."""
    if mark.tile or mark.gravity in {Gravity.CENTER, Gravity.NORTH, Gravity.SOUTH}:
        return "centre"
    return "low" if "west" in mark.gravity.value else "high"


def _spread(em: float) -> float:
    return min(max(em * _HALO, 0.7), _HALO_MAX)


def _pad(em: float) -> int:
    """Room for the outline on each side."""
    return round(3 * _spread(em))


def _padded(image: pyvips.Image, pad: int) -> pyvips.Image:
    return image.embed(pad, pad, image.width + 2 * pad, image.height + 2 * pad)


def _turned_size(width: float, height: float, degrees: float) -> tuple[float, float]:
    """The box around a turned box."""
    across, along = abs(cos(radians(degrees))), abs(sin(radians(degrees)))
    return width * across + height * along, width * along + height * across


def _within(face: pyvips.Image, room: Size) -> pyvips.Image:
    """Rounding, and a room for less than one pixel of letter, are met by shrinking what was drawn."""
    scale = min(room.width / face.width, room.height / face.height)
    if scale >= 1:
        return face
    return face.thumbnail_image(max(1, int(face.width * scale)), height=max(1, int(face.height * scale)), size="force")


def _with_outline(face: pyvips.Image, em: float) -> Letters:
    face = face.copy_memory()
    outline = (face.gaussblur(_spread(em)) * _HALO_STRENGTH).cast("uchar")
    return Letters(face, outline.copy_memory())
