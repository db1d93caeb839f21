"""Decodes the largest image of a Windows icon: a PNG by libvips, a bitmap by Pillow."""

from __future__ import annotations

import io

import pyvips
from PIL import Image
from PIL.IcoImagePlugin import IcoFile

from pixelflow.imaging import pillow
from pixelflow.imaging.decoded import map_file
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.formats.ico.directory import IconEntry, largest
from pixelflow.imaging.formats.png.completed import completed
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions, load_stream


def header(descriptor: int, _options: LoadOptions) -> Header:
    """Read the directory and the header of the largest image."""
    with map_decode_errors("ICO"), map_file(descriptor) as data:
        entry = largest(bytes(data))
    return Header(Size(entry.width, entry.height), frames=1, bytes_per_pixel=4, whole=True, turned=False)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode the largest image."""
    tolerant = options.tolerant
    with map_decode_errors("ICO"), map_file(descriptor) as mapped, pillow.truncation(tolerated=tolerant):
        data = bytes(mapped)
        entry = largest(data)
        if entry.is_png:
            content = data[entry.offset : entry.offset + entry.length]
            if tolerant:
                content = completed(content) or content
            return load_stream("pngload_source", descriptor, content, fail_on=options.fail_on)
        if tolerant:
            data += bytes(_bitmap_bytes(entry))
        return pillow.to_vips(_bitmap(data, entry))


def _bitmap_bytes(entry: IconEntry) -> int:
    """Return as many bytes as its pixels and its mask have at most, with rows of whole 32-bit words."""
    return entry.height * (entry.width * 4 + (entry.width + 31) // 32 * 4)


def _bitmap(data: bytes, entry: IconEntry) -> Image.Image:
    icon = IcoFile(io.BytesIO(data))
    index = next(index for index, each in enumerate(icon.entry) if each.offset == entry.offset)
    return icon.frame(index)
