"""Encodes TIFF, by libtiff in libvips."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.encoded import kept, write
from pixelflow.imaging.formats.tiff import Compression, TiffOptions


def save(image: pyvips.Image, target: pyvips.Target, quality: int, options: TiffOptions) -> None:
    """Append the image to the target. The file is made in memory: libtiff goes back to earlier parts of it."""
    data = image.tiffsave_buffer(
        keep=kept(image),
        compression=options.compression.value,
        Q=quality,
        predictor="none" if options.compression in {Compression.NONE, Compression.JPEG} else "horizontal",
        tile=options.tile,
        tile_width=256,
        tile_height=256,
    )
    write(target, data)
