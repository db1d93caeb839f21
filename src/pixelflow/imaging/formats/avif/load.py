"""Decodes AVIF."""

from __future__ import annotations

import os

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.colour.source import with_color_of_heif
from pixelflow.imaging.formats.avif.sequence import has_narrow_range
from pixelflow.imaging.gain_map import in_heif
from pixelflow.imaging.heif_alpha import Alpha, read_alpha, transformed, without
from pixelflow.imaging.loading import LoadOptions, load_stream, spread

_WIDE_UNIT = 257
"""A step of 8 bits in 16."""
_HEADER_BYTES = 256
"""At the beginning of a coded picture."""
LOADERS = ("VipsForeignLoadHeifSource",)


def has_gain_map(descriptor: int) -> bool:
    """Whether the file has a gain map."""
    return in_heif(descriptor)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    alpha = read_alpha(descriptor)
    image = _load(descriptor, alpha, options)
    if options.wide:
        image = spread(image, int(image.get("bits-per-sample")))
    image = with_color_of_heif(image, descriptor)
    if image.hasalpha() and _is_narrow(alpha, descriptor):
        image = image[: image.bands - 1].bandjoin(_stretched(image[image.bands - 1]))
    if alpha.premultiplied and image.hasalpha():
        image = rounded(image.unpremultiply(), image.format)
    return image


def _load(descriptor: int, alpha: Alpha, options: LoadOptions) -> pyvips.Image:
    if not alpha.hidden:
        return load_stream("heifload_source", descriptor, fail_on=options.fail_on)
    content = without(descriptor, alpha.hidden)
    image = load_stream("heifload_source", descriptor, content, fail_on=options.fail_on, access="random", memory=True)
    return transformed(image, alpha.transforms)


def _is_narrow(alpha: Alpha, descriptor: int) -> bool:
    """Whether values span 16…235, and not all bits. The format wants all bits, but older encoders differ."""
    if alpha.position is None:
        return False
    try:
        return has_narrow_range(os.pread(descriptor, _HEADER_BYTES, alpha.position))
    except LookupError:
        return False


def _stretched(alpha: pyvips.Image) -> pyvips.Image:
    """Spread values from 16…235 to all bits."""
    unit = _WIDE_UNIT if alpha.format == "ushort" else 1
    return rounded(alpha.linear(255 / 219, -16 * unit * 255 / 219), alpha.format)
