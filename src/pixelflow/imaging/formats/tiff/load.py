"""Decodes one page of a TIFF, by libtiff in libvips."""

from __future__ import annotations

from dataclasses import replace

import pyvips

from pixelflow.errors import UnsupportedFormatError
from pixelflow.imaging.formats.tiff.directory import is_sparse, read_file_tags
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions, header_of, load_stream

LOADERS = ("VipsForeignLoadTiffSource",)
_COMPRESSION, _PHOTOMETRIC = 259, 262
_COMPRESSIONS = {34892: "lossy DNG", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}
"""Compressions that this libtiff lacks."""
_COLORS = {6: "YCbCr", 9: "ICC Lab", 10: "ITU Lab", 32844: "LogL", 32845: "LogLuv"}
"""Ways to hold color that libvips reads wrongly or not at all, unless JPEG compresses it."""
_JPEG = {6, 7}


def header(descriptor: int, options: LoadOptions) -> Header:
    """Read the header of the page.

    Raises:
        UnsupportedFormatError: the first page has a compression or color that can't be read.
    """
    tags = read_file_tags(descriptor)
    compression = tags.get(_COMPRESSION, 1)
    if name := _COMPRESSIONS.get(compression):
        raise UnsupportedFormatError(f"TIFF with {name} compression is not supported; save it with another")
    if compression not in _JPEG and (name := _COLORS.get(tags.get(_PHOTOMETRIC, 0))):
        raise UnsupportedFormatError(f"TIFF with {name} colors is not supported; save it as RGB")
    image = load(descriptor, options)
    return replace(header_of(image), regions=_is_tiled(image))


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream; of tiles, only those that are needed.

    libvips makes damaged tiles black, and calls it a warning. Unknown tags are none. It does the same to tiles that a
    sparse file leaves out, so damage within the tiles of such a file is not found.
    """
    image = load_stream("tiffload_source", descriptor, fail_on=options.fail_on, page=options.first)
    if options.tolerant or not _is_tiled(image) or (options.first == 0 and is_sparse(descriptor)):
        return image
    return load_stream("tiffload_source", descriptor, fail_on="warning", page=options.first)


def _is_tiled(image: pyvips.Image) -> bool:
    return bool(image.get_typeof("tile-width"))
