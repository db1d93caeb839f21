"""Encodes JPEG XL, by libjxl."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.colour.convert import PROFILE
from pixelflow.imaging.encoded import write
from pixelflow.imaging.formats.jxl import JxlOptions, libjxl

_EFFORT = 3


def save(image: pyvips.Image, target: pyvips.Target, quality: int, options: JxlOptions) -> None:
    """Append the image to the target, with its color profile if it has one."""
    info = libjxl.Info(image.width, image.height, image.bands, 16 if image.format == "ushort" else 8)
    data = libjxl.encode(
        info,
        image.write_to_memory(),
        quality=None if options.lossless else quality,
        effort=options.effort or _EFFORT,
        profile=image.get(PROFILE) if image.get_typeof(PROFILE) else None,
    )
    write(target, data)
