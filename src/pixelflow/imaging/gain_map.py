"""Gain maps of JPEGs (Ultra HDR, ISO 21496-1): by how much each part of the SDR picture is brighter in HDR.

A gain map is a small picture of its own. Operations that only move pixels are applied to it as to the SDR picture.
Those of AVIF and HEIC files are recognized, to report that they are dropped, and not read.
"""

from __future__ import annotations

import os
import struct
from itertools import islice

import pyvips

from pixelflow.imaging import decoder_warnings
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.isobmff import Meta, read_meta
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.scans import check_scans

MAP = "gainmap"
"""Metadata of an image that is written with a gain map: the map as an image. Its parameters begin with this name."""
_ENCODED = "gainmap-data"
"""The map as it is in the file. The JPEG encoder looks for it to write a map, and prefers the image."""
_SCALE = "gainmap-scale-factor"
_ORIENTATION = "orientation"
_TONE_MAPPED = b"tmap"
"""Type of the item that joins a picture and its gain map (ISO/IEC 23008-12, amendment 1): iOS 18, Android, libavif."""
_OF_IPHONES = b"urn:com:apple:photo:2020:aux:hdrgainmap\0"
"""Type of the auxiliary picture that is one, of earlier iPhones."""
_MAX_LAYERS = 64
"""Auxiliary pictures among which it is searched."""


def read_gain_map(descriptor: int, size: Size, max_scans: int) -> Picture | None:
    """Read the gain map of a JPEG file whose picture has this size.

    It moves the descriptor's position: a picture that was opened before can be decoded, unless pixels of it were
    computed. Decoders' warnings are forgotten: damage of the map is none of the picture.

    Returns:
        None if the file has no gain map, or one that can't be read.

    Raises:
        TooManyScansError: the gain map has more than ``max_scans`` scans.
    """
    decoder_warnings.reset()
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        header = pyvips.Image.uhdrload_source(pyvips.Source.new_from_descriptor(descriptor))
        if not header.get_typeof(_ENCODED):
            return None
        encoded = header.get(_ENCODED)
        check_scans((encoded,), max_scans, "gain map")
        image = pyvips.Image.jpegload_source(pyvips.Source.new_from_memory(encoded), fail_on="error")
        if image.width * image.height > size.pixels:
            return None
        image = image.copy_memory()
        return None if decoder_warnings.damage_collected() else Picture(_described(image, header), size)
    except pyvips.Error:
        return None
    finally:
        decoder_warnings.reset()


def in_heif(descriptor: int) -> bool:
    """Whether an AVIF or HEIC file has a gain map; a damaged file has none."""
    try:
        meta = read_meta(descriptor)
        return any(kind == _TONE_MAPPED for _, kind in meta.kinds()) or _has_layer(meta, _OF_IPHONES)
    except (struct.error, LookupError):
        return False


def _has_layer(meta: Meta, type_: bytes) -> bool:
    layers = islice((each.source for each in meta.references() if each.kind == b"auxl"), _MAX_LAYERS)
    properties = (each for layer in layers for each in meta.properties(layer))
    return any(each.kind == b"auxC" and each.content[4:].startswith(type_) for each in properties)


def _described(image: pyvips.Image, header: pyvips.Image) -> pyvips.Image:
    """Describe a map by its parameters, and as turned like the picture. It has no color space."""
    plain = pyvips.Image.new_from_memory(image.write_to_memory(), image.width, image.height, image.bands, "uchar")
    plain = plain.copy(interpretation="b-w" if image.bands == 1 else "srgb")
    for name in _parameters(header):
        plain.set_type(header.get_typeof(name), name, header.get(name))
    if header.get_typeof(_ORIENTATION):
        plain.set_type(pyvips.GValue.gint_type, _ORIENTATION, header.get(_ORIENTATION))
    return plain


def _parameters(image: pyvips.Image) -> list[str]:
    return [name for name in image.get_fields() if name.startswith(f"{MAP}-")]


def joined(image: pyvips.Image, gain_map: Picture) -> pyvips.Image:
    """Return an image that the JPEG encoder writes with the gain map, reduced to the scale that it had."""
    scaled = gain_map.to_output_colorspace(gray=True).image
    factor = int(scaled.get(_SCALE)) if scaled.get_typeof(_SCALE) else 1
    image = image.copy()
    for name in _parameters(scaled):
        image.set_type(scaled.get_typeof(name), name, scaled.get(name))
    if factor > 1 and min(scaled.width, scaled.height) >= factor:
        scaled = scaled.resize(1 / factor)
    image.set_type(pyvips.GValue.image_type, MAP, scaled.copy_memory())
    return image
