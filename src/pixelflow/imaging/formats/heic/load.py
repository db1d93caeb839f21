"""Decodes HEIC, by libheif and libde265 in pi-heif.

The decoder applies rotation, mirroring and cropping of the container, so EXIF orientation must not be applied again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import _pi_heif
import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.colour.source import with_color_of_heif
from pixelflow.imaging.decoded import Pixels, map_file, to_image
from pixelflow.imaging.errors import damaged, map_decode_errors
from pixelflow.imaging.formats.heic.metadata import read_metadata
from pixelflow.imaging.gain_map import in_heif
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.heif_alpha import Alpha, read_alpha, transformed, without
from pixelflow.imaging.loading import LoadOptions, spread
from pixelflow.imaging.metadata import with_source_metadata

_THREADS, _TO_8_BIT, _BGR, _REMOVE_STRIDE, _TO_16_BIT, _DECODER, _UNLIMITED = 1, 0, 0, 0, 0, "", 0
"""Arguments of ``load_file``: pixels as libheif returns them, any decoder, and libheif's limits of memory.

pi-heif itself removes strides and widens values in place, by the depth that the header states. If the coded depth is
smaller, it writes behind the end of the pixels (pi-heif 1.4.0, `postprocess` in `decode_image`).
"""
_MAX_BITS = 16
_LEAST_STRIDE = 64
"""Bytes of the shortest row that libheif returns of 8 bits; longer ones are whole multiples of 16 bytes. A gray picture
with more bits than its header states has rows of twice the bytes: libheif converts only colors to what is stated."""


def header(descriptor: int, options: LoadOptions) -> Header:
    """Read the boxes; no picture is decoded."""
    with map_decode_errors("HEIC"):
        pictures = _open(descriptor, Alpha())
        size, mode = _chosen(pictures, options).size_mode
    channels, wide, _ = _channels(mode)
    bytes_per_pixel = channels * (2 if wide else 1)
    return Header(
        Size(*size), frames=len(pictures), bytes_per_pixel=bytes_per_pixel, wide=wide, whole=True, turned=False
    )


def has_gain_map(descriptor: int) -> bool:
    """Whether the file has a gain map."""
    return in_heif(descriptor)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode the main picture, or the one with the number that the options have."""
    with map_decode_errors("HEIC"):
        picture = _chosen(_open(descriptor, Alpha()), options)
        size, alpha = picture.size_mode[0], read_alpha(descriptor) if picture.primary else Alpha()
        if alpha.hidden:
            picture = _chosen(_open(descriptor, alpha), options)
        image = transformed(_decoded(picture), alpha.transforms)
        if options.wide:
            image = spread(image, picture.bit_depth)
        if (image.width, image.height) != size:  # which the limits were checked with
            raise damaged("HEIC")
        if _channels(picture.size_mode[1]).premultiplied:
            image = rounded(image.unpremultiply(), image.format)
        if picture.primary:
            image = with_source_metadata(image, *read_metadata(descriptor))
        return with_color_of_heif(image, descriptor)


def _open(descriptor: int, alpha: Alpha) -> list[Any]:
    """Read the boxes of the pictures.

    Calls the C module below pi-heif's Python code, which also reads the metadata of each picture: that ends the process
    if the type of an item is not UTF-8 (pi-heif 1.4.0, `_CtxImage_metadata`).
    """
    if alpha.hidden:
        content = without(descriptor, alpha.hidden)
    else:
        with map_file(descriptor) as data:
            content = bytes(data)
    found = _pi_heif.load_file(content, _THREADS, _TO_8_BIT, _BGR, _REMOVE_STRIDE, _TO_16_BIT, _DECODER, _UNLIMITED)
    return [each for each in found if each is not None]


def _chosen(pictures: list[Any], options: LoadOptions) -> Any:  # noqa: ANN401 - of the C module
    frame = options.source.frame
    candidates = [each for each in pictures if each.primary] if frame is None else pictures[: frame + 1]
    return candidates[-1]


def _decoded(picture: Any) -> pyvips.Image:  # noqa: ANN401 - of the C module
    data = bytes(picture.data)  # which is a view of memory that ends with the picture
    (width, height), mode = picture.size_mode
    channels, wide, _ = _channels(mode)
    row = width * channels * (2 if wide else 1)
    if not row <= picture.stride < 2 * max(row, _LEAST_STRIDE) or picture.bit_depth > _MAX_BITS:
        raise damaged("HEIC")  # or the header states another depth than is coded
    profile = picture.color_profile
    icc = profile["data"] if profile.get("type") in {"rICC", "prof"} else None
    pixels = Pixels(data, width, height, channels, 16 if wide else 8, picture.stride)
    image = to_image(pixels, profile=icc)
    return image << _MAX_BITS - picture.bit_depth if wide else image


class _Channels(NamedTuple):
    number: int
    wide: bool
    """Whether they have more than 8 bits, and two bytes."""
    premultiplied: bool


def _channels(mode: str) -> _Channels:
    """Return the channels of a mode such as `RGB;10`."""
    name, _, bits = mode.partition(";")
    return _Channels(len(name), bool(bits), name.endswith("a"))
