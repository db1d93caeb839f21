"""The color and alpha channels of a picture in the color space of outputs."""

from __future__ import annotations

from collections.abc import Callable

import pyvips

from pixelflow.imaging.colors import Color
from pixelflow.imaging.colour import convert
from pixelflow.imaging.colour.tables import unit


def split_alpha(image: pyvips.Image) -> tuple[pyvips.Image, pyvips.Image | None]:
    """Return the color channels, and the alpha channel if there is one."""
    if not image.hasalpha():
        return image, None
    return image.extract_band(0, n=image.bands - 1), image.extract_band(image.bands - 1)


def join_alpha(colors: pyvips.Image, alpha: pyvips.Image | None) -> pyvips.Image:
    """Return an image with these channels."""
    return colors if alpha is None else colors.bandjoin(alpha)


def on_colors(image: pyvips.Image, operation: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    """Apply an operation to the color channels and keep the alpha channel: right if each pixel stands for itself."""
    colors, alpha = split_alpha(image)
    return join_alpha(operation(colors), alpha)


def values_of(color: Color, image: pyvips.Image) -> list[float]:
    """Return the values by which a pixel of the image has this color; without alpha, as if it were opaque."""
    colors = convert.values_of(color.rgb, image)[: image.bands - image.hasalpha()]
    return [*map(float, colors), *[float(color.alpha * unit(image))] * image.hasalpha()]


def luminance(colors: pyvips.Image) -> pyvips.Image:
    """Return the relative luminance of ITU-R BT.709, computed in linear light, as one channel of sRGB."""
    return colors.colourspace("grey16" if colors.format == "ushort" else "b-w")
