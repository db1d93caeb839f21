"""Decodes HEIC, by libheif and libde265 in pi-heif.

The decoder applies rotation, mirroring and cropping of the container, so EXIF orientation must not be applied again.
"""

from __future__ import annotations

import pi_heif
import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.colour.source import with_color_of_heif
from pixelflow.imaging.decoded import Pixels, map_file, to_image
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions
from pixelflow.imaging.metadata import with_source_metadata

pi_heif.options.DECODE_THREADS = 1
pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False


def header(descriptor: int, options: LoadOptions) -> Header:
    """Read the boxes; no picture is decoded."""
    with map_decode_errors("HEIC"):
        file = _open(descriptor)
        image = file[_index(file, options)]
    channels, wide = _channels(image.mode)
    bytes_per_pixel = channels * (2 if wide else 1)
    return Header(Size(*image.size), frames=len(file), bytes_per_pixel=bytes_per_pixel, whole=True, turned=False)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode the main picture, or the one with the number that the options have."""
    with map_decode_errors("HEIC"):
        file = _open(descriptor)
        image = file[_index(file, options)]
        data = bytes(image.data)  # which is a view of memory that ends with the file
        channels, wide = _channels(image.mode)
        width, height = image.size
        pixels = Pixels(data, width, height, channels, 16 if wide else 8)
        decoded = to_image(pixels, profile=image.info.get("icc_profile"))
        if image.premultiplied_alpha:
            decoded = rounded(decoded.unpremultiply(), decoded.format)
        decoded = with_source_metadata(decoded, image.info.get("exif"), image.info.get("xmp"))
        return with_color_of_heif(decoded, descriptor)


def _open(descriptor: int) -> pi_heif.HeifFile:
    with map_file(descriptor) as data:
        return pi_heif.open_heif(bytes(data), convert_hdr_to_8bit=False)


def _index(file: pi_heif.HeifFile, options: LoadOptions) -> int:
    frame = options.source.frame
    return file.primary_index if frame is None else min(frame, len(file) - 1)


def _channels(mode: str) -> tuple[int, bool]:
    """Return the channels of a mode such as `RGB;16`, and whether they have 16 bits."""
    name, _, bits = mode.partition(";")
    return len(name), bits == "16"
