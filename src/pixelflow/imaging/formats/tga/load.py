"""Decodes TGA, by Pillow."""

from __future__ import annotations

import pyvips
from PIL.TgaImagePlugin import TgaImageFile

from pixelflow.imaging import pillow
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions


def header(descriptor: int, _options: LoadOptions) -> Header:
    """Read the header."""
    with pillow.open_image(descriptor, TgaImageFile) as image:
        return pillow.header_of(image)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode all pixels."""
    return pillow.load(descriptor, TgaImageFile, tolerant=options.tolerant)
