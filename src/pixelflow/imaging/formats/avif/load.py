"""Decodes AVIF."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.colour.source import with_color_of_heif
from pixelflow.imaging.formats.avif.alpha import Alpha, read_alpha, transformed, without
from pixelflow.imaging.loading import LoadOptions, load_stream

_WIDE_UNIT = 257
"""A step of 8 bits in 16."""
LOADERS = ("VipsForeignLoadHeifSource",)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream."""
    alpha = read_alpha(descriptor)
    image = with_color_of_heif(_load(descriptor, alpha, options), descriptor)
    if alpha.narrow and image.hasalpha():
        image = image[: image.bands - 1].bandjoin(_stretched(image[image.bands - 1]))
    if alpha.premultiplied and image.hasalpha():
        image = rounded(image.unpremultiply(), image.format)
    return image


def _load(descriptor: int, alpha: Alpha, options: LoadOptions) -> pyvips.Image:
    if not alpha.transforms:
        return load_stream("heifload_source", descriptor, fail_on=options.fail_on)
    content = without(descriptor, alpha.hidden)
    image = load_stream("heifload_source", descriptor, content, fail_on=options.fail_on, access="random", memory=True)
    return transformed(image, alpha.transforms)


def _stretched(alpha: pyvips.Image) -> pyvips.Image:
    """Spread values from 16…235 to all bits."""
    unit = _WIDE_UNIT if alpha.format == "ushort" else 1
    return rounded(alpha.linear(255 / 219, -16 * unit * 255 / 219), alpha.format)
