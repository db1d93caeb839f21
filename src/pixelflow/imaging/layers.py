"""Layers: pictures with alpha that are drawn over others in the same color space."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.blend import Blend
from pixelflow.imaging.channels import values_of
from pixelflow.imaging.colors import Color
from pixelflow.imaging.colour import convert
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.picture import Picture

_QUARTER, _TURN = 90, 360
_MIN_TILE = 256
"""Minimum side of the repeated pattern in pixels: many small tiles cost more than a few large ones."""
_ALPHA = 3


def layer_of(picture: Picture, size: Size, *, rotation: float, opacity: float) -> pyvips.Image:
    """Return a picture as a layer: scaled to ``size``, then rotated by ``rotation`` degrees, clockwise.

    What is in memory is never larger than the picture: of an enlarged one, only the visible part is ever computed.
    """
    picture = picture.near(size)
    image = _enlarged(picture, size) if size.pixels > picture.size.pixels else _reduced(picture, size)
    image = image if image.hasalpha() else image.addalpha()
    if rotation % _QUARTER:  # transparent edges, which become smooth
        image = image.embed(1, 1, image.width + 2, image.height + 2)
    return with_opacity(rotated(image, rotation), opacity)


def _enlarged(picture: Picture, size: Size) -> pyvips.Image:
    return picture.to_output_colorspace().materialized().scaled(size, linear=False).image


def _reduced(picture: Picture, size: Size) -> pyvips.Image:
    return picture.scaled(size, linear=False).to_output_colorspace().materialized().image


def in_space_of(picture: Picture, layer: pyvips.Image) -> pyvips.Image:
    """Convert a layer with colors of sRGB to the color space of the picture."""
    if picture.target == convert.SRGB:
        return layer
    size = Size(layer.width, layer.height)
    return Picture(layer, size, target=picture.target).to_output_colorspace().image


def with_opacity(layer: pyvips.Image, opacity: float) -> pyvips.Image:
    """Multiply the alpha channel by ``opacity``."""
    if opacity == 1:
        return layer
    if layer.format == "ushort":
        alpha = layer[_ALPHA].linear(opacity, 0.5).cast("ushort")
    else:
        alpha = layer[_ALPHA].linear(opacity, 0.5, uchar=True)
    return layer[0:_ALPHA].bandjoin(alpha).copy(interpretation=layer.interpretation)


def rotated(image: pyvips.Image, degrees: float) -> pyvips.Image:
    """Rotate a layer clockwise. Its edges should be transparent: others become jagged."""
    if degrees % _TURN == 0:
        return image
    if degrees % _QUARTER == 0:
        return image.rot(f"d{int(degrees % 360)}")
    # libvips multiplies by alpha for it, and would truncate integers.
    return rounded(image.cast("float").copy(interpretation=image.interpretation).rotate(degrees), image.format)


def tiled(layer: pyvips.Image, gap: int, size: Size) -> pyvips.Image:
    """Repeat the layer over ``size``, with every other row shifted by half.

    The pattern in memory is never larger than ``size``, for any gap.
    """
    gap = min(gap, max(size))  # a wider gap would show no more of the second layer
    row = layer.embed(0, 0, layer.width + gap, layer.height + gap)
    cell = row.join(row.wrap(x=row.width // 2, y=0), "vertical")
    cell = cell.replicate(-(-_MIN_TILE // cell.width), -(-_MIN_TILE // cell.height))
    cell = cell.crop(0, 0, min(cell.width, size.width), min(cell.height, size.height)).copy_memory()
    return cell.replicate(-(-size.width // cell.width), -(-size.height // cell.height)).crop(0, 0, *size)


def draw(image: pyvips.Image, layer: pyvips.Image, left: int, top: int, blend: Blend = Blend.OVER) -> pyvips.Image:
    """Draw the layer over an image, of which it gets the bits per channel, and cut what is beyond the edges.

    Only the area under the layer is blended; the rest is passed through unchanged.
    """
    start = max(0, left), max(0, top)
    end = min(image.width, left + layer.width), min(image.height, top + layer.height)
    size = end[0] - start[0], end[1] - start[1]
    layer = convert.like(layer, image)
    if min(size) <= 0:
        return image
    part = layer.crop(start[0] - left, start[1] - top, *size)
    if size == (image.width, image.height):
        return _blended(image, part, blend)
    return image.insert(_blended(image.crop(*start, *size), part.copy_memory(), blend), *start)


def over_color(image: pyvips.Image, color: Color) -> pyvips.Image:
    """Put a color of sRGB behind the transparent parts of an image. The result has alpha unless it is opaque."""
    if not image.hasalpha():
        return image
    values = values_of(color, image)
    below = image.new_from_image(values[:_ALPHA] if color.opaque else values)
    return _blended(below.copy(interpretation=image.interpretation), image, Blend.OVER)


def _blended(under: pyvips.Image, layer: pyvips.Image, blend: Blend) -> pyvips.Image:
    if blend is Blend.OVER and not under.hasalpha() and under.format == "uchar":
        return layer[_ALPHA].ifthenelse(layer[0:_ALPHA], under, blend=True)
    # In floats and rounded: with integers, libvips truncates, which makes everything darker.
    space = under.interpretation
    below, above = (each.cast("float").copy(interpretation=space) for each in (under, layer))
    mode = blend.value.replace("color", "colour")
    blended = rounded(below.composite2(above, mode, compositing_space=space), under.format).copy(interpretation=space)
    return blended if under.hasalpha() else blended[0:_ALPHA]
