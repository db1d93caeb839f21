"""Decodes JPEG 2000, by OpenJPEG in Pillow."""

from __future__ import annotations

import os

import pyvips
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from pixelflow.imaging import pillow
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.formats.jp2.codestream import count_levels
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions

_HEAD_BYTES = 65_536
"""The boxes before the codestream are short, unless there is a long color profile."""


def header(descriptor: int, _options: LoadOptions) -> Header:
    """Read the header."""
    with map_decode_errors("JPEG 2000"), pillow.open_image(descriptor, Jpeg2KImageFile) as image:
        return pillow.header_of(image)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode all pixels, reduced as far as the file has levels of resolution."""
    levels = min(int(options.shrink).bit_length() - 1, count_levels(os.pread(descriptor, _HEAD_BYTES, 0)))
    with map_decode_errors("JPEG 2000"):
        return pillow.load(descriptor, Jpeg2KImageFile, levels)
