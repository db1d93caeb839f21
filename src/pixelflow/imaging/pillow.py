"""Formats that Pillow decodes: header and pixels of one of its plugins.

A plugin is used directly, so no other of Pillow's formats can be reached by a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TypeAlias

import pyvips
from PIL import Image, ImageFile

from pixelflow.imaging.decoded import Pixels, to_image
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header

Image.MAX_IMAGE_PIXELS = None  # the engine checks the header against the limits of the job

Plugin: TypeAlias = Callable[[IO[bytes]], ImageFile.ImageFile]

_CONVERSIONS = {"1": "L", "PA": "RGBA", "RGBX": "RGB", "La": "LA", "RGBa": "RGBA", "YCbCr": "RGB", "LAB": "RGB",
                "HSV": "RGB", "CMYK": "RGB", "I": "I;16", "I;16B": "I;16"}  # fmt: skip


@contextmanager
def open_image(descriptor: int, plugin: Plugin, *, tolerant: bool = False) -> Iterator[ImageFile.ImageFile]:
    """Read the header of the file by a plugin of Pillow.

    Args:
        descriptor: of the file.
        plugin: of Pillow.
        tolerant: whether missing pixels are no error, but black, while the context lasts.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file, truncation(tolerated=tolerant):
        yield plugin(file)


@contextmanager
def truncation(*, tolerated: bool) -> Iterator[None]:
    """Set what Pillow does about missing pixels, which it has one flag for in the whole process."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, tolerated
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def header_of(image: Image.Image) -> Header:
    """Describe an image whose pixels are not decoded yet."""
    channels, wide = len(image.getbands()) + ("transparency" in image.info), image.mode.startswith("I")
    return Header(
        Size(image.width, image.height),
        frames=1,
        bytes_per_pixel=max(channels, 2 if wide else 1),
        wide=wide,
        whole=True,
        turned=False,
    )


def has_alpha(image: Image.Image) -> bool:
    """Whether pixels can be translucent."""
    return "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info


def load(descriptor: int, plugin: Plugin, halvings: int = 0, *, tolerant: bool = False) -> pyvips.Image:
    """Decode the file by a plugin of Pillow.

    Args:
        descriptor: of the file.
        plugin: of Pillow.
        halvings: how often the size is halved, if the format is JPEG 2000.
        tolerant: whether missing pixels are no error, but black.
    """
    with open_image(descriptor, plugin, tolerant=tolerant) as image:
        if halvings:
            image.reduce = halvings  # type: ignore[assignment]  # a property of the plugin
        return to_vips(image)


def to_vips(image: Image.Image) -> pyvips.Image:
    """Decode the pixels and hand them to libvips, in gray or RGB with optional straight alpha."""
    image.load()
    profile = image.info.get("icc_profile")
    image = image.convert(_target_mode(image))
    bits = 16 if image.mode == "I;16" else 8
    data, size = image.tobytes(), image.size
    bands = len(image.getbands())
    image.close()
    return to_image(Pixels(data, *size, bands, bits), profile=profile)


def _target_mode(image: Image.Image) -> str:
    if image.mode == "P" or "transparency" in image.info:
        return "RGBA" if has_alpha(image) else "RGB"
    return _CONVERSIONS.get(image.mode, image.mode)
