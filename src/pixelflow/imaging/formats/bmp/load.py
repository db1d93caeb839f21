"""Decodes BMP, by Pillow."""

from __future__ import annotations

import pyvips
from PIL.BmpImagePlugin import BmpImageFile

from pixelflow.imaging import pillow
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions


def header(descriptor: int, _options: LoadOptions) -> Header:
    """Read the header."""
    with map_decode_errors("BMP"), pillow.open_image(descriptor, BmpImageFile) as image:
        return pillow.header_of(image)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode all pixels."""
    with map_decode_errors("BMP"):
        return pillow.load(descriptor, BmpImageFile, tolerant=options.tolerant)
