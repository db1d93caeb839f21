"""Draws a linear gradient, as CSS Images Level 3 defines it: colors are interpolated with premultiplied alpha."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import chain
from math import cos, radians, sin

import pyvips

from pixelflow.imaging.colors import rgba
from pixelflow.imaging.colour import convert, tables
from pixelflow.imaging.context import Context
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.layers import draw
from pixelflow.imaging.operations.gradient.model import Gradient, Stop
from pixelflow.imaging.picture import Picture

_ENTRIES = 2048
"""Colors of the table: between two of them, no channel changes by more than one level unless stops are very close."""
_HALF_TURN, _QUARTER_TURN = 180, 90
_ALPHA = 3


def apply(picture: Picture, step: Gradient, _context: Context) -> Picture:
    """Draw the gradient over the picture."""
    picture = picture.to_output_colorspace()
    image = picture.image
    layer, top = _visible(_layer(step, image), step.angle)
    return picture if layer is None else picture.with_image(draw(image, layer, 0, top, step.blend))


def _layer(step: Gradient, image: pyvips.Image) -> pyvips.Image:
    """Return the gradient for the image, made from one row or column if all are alike."""
    size = Size(image.width, image.height)
    across, down = _direction(step.angle)
    drawn = Size(size.width if across else 1, size.height if down else 1)
    length = abs(size.width * across) + abs(size.height * down)
    places = pyvips.Image.xyz(*drawn).linear([across / length, down / length], [0, 0])
    middle = ((size.width - 1) * across + (size.height - 1) * down) / 2 / length
    share = places[0] + places[1] + (0.5 - middle)
    colors = share.linear(_ENTRIES - 1, 0.5).cast("ushort").maplut(_table(step, image))
    colors = colors.copy(interpretation=image.interpretation)
    if drawn == size:
        return colors
    return colors.copy_memory().replicate(size.width // drawn.width, size.height // drawn.height)


def _direction(angle: float) -> tuple[float, float]:
    """Return how far the gradient goes to the right and down, in one unit."""
    if angle % _QUARTER_TURN == 0:  # exact
        return [(0, -1), (1, 0), (0, 1), (-1, 0)][int(angle % 360) // _QUARTER_TURN]
    return sin(radians(angle)), -cos(radians(angle))


def _visible(layer: pyvips.Image, angle: float) -> tuple[pyvips.Image | None, int]:
    """Cut transparent rows off a vertical gradient, and return its first row; None if there is nothing to see."""
    if angle % _HALF_TURN:
        return layer, 0
    column = layer[_ALPHA].crop(0, 0, 1, layer.height)
    _, top, _, height = column.find_trim(background=[0], threshold=0, line_art=True)
    return (layer.crop(0, top, layer.width, height), top) if height else (None, 0)


def _table(step: Gradient, image: pyvips.Image) -> pyvips.Image:
    places = _places(step.stops)
    colors = [rgba(stop.color) for stop in step.stops]
    premultiplied = [
        (*(value * color.alpha / 255 for value in convert.values_of(color.rgb, image)), float(color.alpha))
        for color in colors
    ]
    level = tables.unit(image)
    rows = [_color_at(entry / (_ENTRIES - 1), places, premultiplied, level) for entry in range(_ENTRIES)]
    typecode = "B" if image.format == "uchar" else "H"
    return tables.table(array(typecode, chain.from_iterable(rows)).tobytes(), typecode, 4, image.format)


def _places(stops: tuple[Stop, ...]) -> list[float]:
    """Return the place of each stop from 0 to 1; none is before an earlier one."""
    known = {0: 0.0, len(stops) - 1: 1.0}
    known |= {index: float(stop.at.rstrip("%")) / 100 for index, stop in enumerate(stops) if stop.at is not None}
    places: list[float] = []
    indexes = sorted(known)
    for index in range(len(stops)):
        before = max(each for each in indexes if each <= index)
        after = min(each for each in indexes if each >= index)
        share = (index - before) / (after - before) if after > before else 0
        places.append(max([known[before] + share * (known[after] - known[before]), *places]))
    return places


def _color_at(place: float, places: list[float], colors: list[tuple[float, ...]], level: int) -> list[int]:
    """Return the straight color at a place; ``level`` is what one of 8 bits is in its channels."""
    after = bisect_right(places, place)
    if after == 0 or after == len(places):
        color = colors[0] if after == 0 else colors[-1]
    else:
        share = (place - places[after - 1]) / (places[after] - places[after - 1])
        color = tuple(a + share * (b - a) for a, b in zip(colors[after - 1], colors[after], strict=True))
    *channels, alpha = color
    straight = (round(min(255 * level, channel * 255 / alpha)) if alpha else 0 for channel in channels)
    return [*straight, round(alpha * level)]
