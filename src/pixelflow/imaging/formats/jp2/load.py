"""Decodes JPEG 2000, by OpenJPEG in Pillow."""

from __future__ import annotations

import pyvips
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from pixelflow.imaging import pillow
from pixelflow.imaging.decoded import decoding
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions


def header(descriptor: int, _options: LoadOptions) -> Header:
    """Read the header."""
    with decoding("JPEG 2000"), pillow.open_image(descriptor, Jpeg2KImageFile) as image:
        return pillow.header_of(image)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode all pixels, at the level of resolution for the reduction."""
    with decoding("JPEG 2000"):
        return pillow.load(descriptor, Jpeg2KImageFile, int(options.shrink))
