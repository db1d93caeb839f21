"""The color of an opened source: reads what libvips leaves out, and describes the image by it."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.colour import icc, tables
from pixelflow.imaging.colour.cicp import StatedColor, stated_color
from pixelflow.imaging.colour.convert import PROFILE, TRANSFER
from pixelflow.imaging.colour.isobmff import read_color
from pixelflow.imaging.colour.png import color_of_png

_BLACK, _SPAN = 16, 219
"""Of 8-bit values that do not span all of their bits (BT.709, 4.2)."""


def with_color_of_png(image: pyvips.Image, descriptor: int) -> pyvips.Image:
    """Describe an image of a PNG file by its color chunks."""
    stated = color_of_png(descriptor, has_profile=bool(image.get_typeof(PROFILE)))
    return _stated(image, stated) if stated else image


def with_color_of_heif(image: pyvips.Image, descriptor: int) -> pyvips.Image:
    """Describe an image of an AVIF or HEIF file by its color properties; a profile has precedence over code points.

    libheif stretches values of narrow range, except those of a monochrome picture, which it decodes to three channels.
    """
    color = read_color(descriptor)
    image = _gray(image) if color.monochrome and image.bands >= tables.CHANNELS else image
    if color.code_points is None:
        return image
    full_range = color.code_points.full_range or not color.monochrome
    stated = stated_color(color.code_points._replace(full_range=full_range))
    if not image.get_typeof(PROFILE):
        return _stated(image, stated)
    return image if full_range else _stretched(image)


def with_color_of_profile(image: pyvips.Image) -> pyvips.Image:
    """Drop the profile of an image if it is that of sRGB, so that nothing is converted."""
    if not image.get_typeof(PROFILE):
        return image
    profile = icc.read(image.get(PROFILE))
    if profile.code_points and (stated := stated_color(profile.code_points)).hdr:
        return _stated(image, stated)
    return _described(image, None) if profile.space and profile.space.is_srgb else image


def _stated(image: pyvips.Image, stated: StatedColor) -> pyvips.Image:
    image = image if stated.full_range else _stretched(image)
    try:
        space = icc.space(stated.primaries, stated.curve)
    except ValueError:
        return _described(image, None)
    profile = None if space.is_srgb else icc.write(stated.primaries, stated.curve, "PixelFlow")
    image = _described(image, profile)
    if stated.hdr:
        image.set_type(pyvips.GValue.gstr_type, TRANSFER, stated.hdr.value)
    return image


def _described(image: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    image = image.copy()
    if image.get_typeof(PROFILE):
        image.remove(PROFILE)
    if profile:
        image.set_type(pyvips.GValue.blob_type, PROFILE, profile)
    return image


def _gray(image: pyvips.Image) -> pyvips.Image:
    gray = image[0].bandjoin(image[image.bands - 1]) if image.hasalpha() else image[0]
    return gray.copy(interpretation="grey16" if image.format == "ushort" else "b-w")


def _stretched(image: pyvips.Image) -> pyvips.Image:
    """Spread values from 16…235 to all bits; alpha always spans them."""
    unit = 257 if image.format == "ushort" else 1
    color, alpha = (image[: image.bands - 1], image[image.bands - 1]) if image.hasalpha() else (image, None)
    stretched = color.linear(255 / _SPAN, 0.5 - unit * _BLACK * 255 / _SPAN).cast(image.format)
    return stretched.bandjoin(alpha) if alpha else stretched
