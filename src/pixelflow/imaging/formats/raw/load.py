"""Decodes camera RAW, by LibRaw in rawpy: the preview that the camera embedded, or developed if that is too small."""

from __future__ import annotations

from contextlib import suppress
from typing import BinaryIO, cast

import pyvips
import rawpy

from pixelflow.imaging.decoded import Pixels, map_file, to_image
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions, load_stream
from pixelflow.imaging.scans import check_scans

_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}
"""LibRaw's ``flip`` as EXIF orientation."""
_JPEG = b"\xff\xd8\xff"
_MAX_SCANS = 500
"""Of a preview. Cameras write baseline JPEGs, which have one."""
_LAST_UNTURNED = 4
"""EXIF orientations above swap width and height."""
_MAX_DIFFERENCE = 0.02
"""Between the aspect ratios of preview and photo. A preview with black bars, or cut otherwise, differs more."""


_MAX_SIZE = 1.1
"""Width of a preview relative to the photo, whose pixels alone were checked against the limits."""


def header(descriptor: int, _options: LoadOptions) -> Header:
    """Read the size of the photo; nothing is decoded."""
    with map_decode_errors("RAW"), _open(descriptor) as raw:
        orientation, size = _orientation(raw), Size(raw.sizes.width, raw.sizes.height)
        upright = size if orientation <= _LAST_UNTURNED else Size(size.height, size.width)
        return Header(upright, frames=1, bytes_per_pixel=3, wide=True, whole=True, turned=orientation != 1)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Return the preview if it has the pixels that are needed, else develop the photo, as the camera balanced white.

    Raises:
        TooManyScansError: the preview is a progressive JPEG of so many scans that it may take very long.
    """
    with map_decode_errors("RAW"), _open(descriptor) as raw:
        preview = None if options.wide else _preview(raw, descriptor)  # which has 8 bits
        if preview and preview.width * options.shrink >= raw.sizes.width and _same_picture(preview, raw.sizes):
            return preview
        half = options.shrink >= 2  # noqa: PLR2004  # each 2 × 2 pixels of the sensor make one
        return _developed(raw, half=half, bits=16 if options.wide else 8)


def _open(descriptor: int) -> rawpy.RawPy:
    with map_file(descriptor) as data:
        return rawpy.imread(cast(BinaryIO, data))


def _preview(raw: rawpy.RawPy, descriptor: int) -> pyvips.Image | None:
    """Return the largest preview, in the orientation of the photo: its own tag is missing or the same."""
    with suppress(rawpy.LibRawError, pyvips.Error):
        thumb = raw.extract_thumb()
        if isinstance(thumb.data, bytes) and thumb.data.startswith(_JPEG):
            check_scans((thumb.data,), _MAX_SCANS, "preview of the source")
            image = load_stream("jpegload_source", descriptor, thumb.data, fail_on="error").copy()
            image.set_type(pyvips.GValue.gint_type, "orientation", _orientation(raw))
            return image
    return None


def _same_picture(preview: pyvips.Image, sizes: rawpy.ImageSizes) -> bool:
    if preview.width > _MAX_SIZE * sizes.width:
        return False
    ratio: float = preview.width * sizes.height / (preview.height * sizes.width)
    return abs(ratio - 1) < _MAX_DIFFERENCE


def _developed(raw: rawpy.RawPy, *, half: bool, bits: int) -> pyvips.Image:
    orientation = _orientation(raw)  # which `user_flip` overwrites
    pixels = raw.postprocess(use_camera_wb=True, half_size=half, user_flip=0, output_bps=bits)
    height, width, bands = pixels.shape
    return to_image(Pixels(pixels.data, width, height, bands, bits), orientation=orientation)


def _orientation(raw: rawpy.RawPy) -> int:
    return _ORIENTATIONS.get(raw.sizes.flip, 1)
