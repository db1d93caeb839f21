"""Transparency of AVIF and HEIC files where libheif shows it wrong: premultiplied colors, and alpha that is not turned.

The transparency is a picture of its own. Encoders often give rotation, mirroring and cropping to the colors alone, and
browsers apply them to both; libheif does not.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import pyvips

from pixelflow.imaging.isobmff import Meta, Property, read_meta

_TRANSFORMS = {b"irot": 1, b"imir": 1, b"clap": 32}
"""Bytes of the properties that turn and crop a picture."""
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
"""Types of auxiliary pictures: of any codec, and the older one of HEVC."""
_MAX_LAYERS = 64
"""Auxiliary pictures among which alpha is searched. Phones add some ten: depth, a gain map, mattes of hair and skin."""
_TURNS = {1: "d270", 2: "d180", 3: "d90"}
"""`irot` counts quarters counterclockwise, libvips degrees clockwise."""


@dataclass(frozen=True)
class Alpha:
    """What is to be done about the transparency of a file."""

    premultiplied: bool = False
    """Whether colors are multiplied by alpha."""
    position: int | None = None
    """Of its coded values in the file; unknown of a picture of tiles."""
    transforms: tuple[Property, ...] = ()
    """What the decoder would apply to colors alone, in order."""
    hidden: tuple[tuple[int, int], ...] = ()
    """Position and length of the entries in the file that make the decoder transform colors or alpha."""


def read_alpha(descriptor: int) -> Alpha:
    """Read how colors and alpha of a file belong together; a damaged file says nothing."""
    try:
        return _alpha(read_meta(descriptor))
    except (struct.error, LookupError):
        return Alpha()


def _alpha(meta: Meta) -> Alpha:
    primary, references = meta.primary, list(meta.references())
    layers = (each.source for each in references if each.kind == b"auxl" and primary in each.targets)
    item = next((each for each in islice(layers, _MAX_LAYERS) if _is_alpha(meta, each)), None)
    if item is None:
        return Alpha()
    premultiplied = any(each.kind == b"prem" and each.source == primary for each in references)
    position = _position(meta, item)
    of_colors, of_alpha = _transforms(meta, primary), _transforms(meta, item)
    if [each[:2] for each in of_colors] == [each[:2] for each in of_alpha]:
        return Alpha(premultiplied, position)
    hidden = tuple((meta.offset + each.position, each.width) for each in [*of_colors, *of_alpha])
    return Alpha(premultiplied, position, tuple(of_colors), hidden)


def _is_alpha(meta: Meta, item: int) -> bool:
    return any(each.kind == b"auxC" and each.content[4:].startswith(_ALPHA) for each in meta.properties(item))


def _position(meta: Meta, item: int) -> int | None:
    try:
        return meta.position(item)
    except LookupError:
        return None


def _transforms(meta: Meta, item: int) -> list[Property]:
    found = [each for each in meta.properties(item) if each.kind in _TRANSFORMS]
    if any(len(each.content) < _TRANSFORMS[each.kind] for each in found):
        raise LookupError("a property is truncated")
    return found


def without(descriptor: int, hidden: Sequence[tuple[int, int]]) -> bytes:
    """Return the file with these entries set to 0, which stands for no property."""
    content = bytearray(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    for position, width in hidden:
        content[position : position + width] = bytes(width)
    return bytes(content)


def transformed(image: pyvips.Image, transforms: Sequence[Property]) -> pyvips.Image:
    """Rotate, mirror and crop an image, whose pixels can be read in any order.

    Raises:
        pyvips.Error: a crop is not within the image.
        OverflowError: it is beyond what libvips can express.
    """
    for each in transforms:
        match each.kind:
            case b"irot":
                image = image.rot(_TURNS[each.content[0] & 3]) if each.content[0] & 3 else image
            case b"imir":
                image = image.fliphor() if each.content[0] & 1 else image.flipver()
            case _:
                image = image.crop(*_clean_aperture(each.content, image.width, image.height))
    return image


def _clean_aperture(content: bytes, width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the box `clap` (ISO/IEC 14496-12, 12.1.4)."""
    values = struct.unpack_from(">IIIIiIiI", content)
    across, down, right, below = (Fraction(values[at], values[at + 1] or 1) for at in range(0, 8, 2))
    left = right + Fraction(width - 1, 2) - (across - 1) / 2
    top = below + Fraction(height - 1, 2) - (down - 1) / 2
    return int(left), int(top), int(across), int(down)
