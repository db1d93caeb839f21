"""EXIF and XMP of a HEIC file (ISO/IEC 23008-12, annex A), read from its boxes.

pi-heif's own reader ends the process if the type of an item is not UTF-8.
"""

from __future__ import annotations

import struct

from pixelflow.imaging.isobmff import Meta, read_meta

_MAX_BYTES = 1 << 20
"""Of EXIF and XMP each."""
_SIGNATURE = b"Exif\0\0"


def read_metadata(descriptor: int) -> tuple[bytes, bytes]:
    """Return EXIF and XMP of the primary picture, empty where there is none; a damaged file has none."""
    try:
        meta = read_meta(descriptor)
        kinds = dict(meta.kinds())
        items = [each.source for each in meta.references() if each.kind == b"cdsc" and meta.primary in each.targets]
    except (struct.error, LookupError):
        return b"", b""
    exif, xmp = (_content(meta, descriptor, kind, items, kinds) for kind in (b"Exif", b"mime"))
    return _tiff(exif), xmp


def _content(meta: Meta, descriptor: int, kind: bytes, items: list[int], kinds: dict[int, bytes]) -> bytes:
    """Return the data of the first of the items that is of the kind."""
    item = next((each for each in items if kinds.get(each) == kind), None)
    try:
        return b"" if item is None else meta.content(item, descriptor, _MAX_BYTES)
    except (struct.error, LookupError):
        return b""


def _tiff(exif: bytes) -> bytes:
    """Return the part behind the offset in the first four bytes, with the signature if it is before that."""
    start = 4 + int.from_bytes(exif[:4], "big")
    if start >= len(exif):  # as some encoders write it
        start = 4
    signed = exif[max(4, start - len(_SIGNATURE)) : start] == _SIGNATURE
    return exif[start - len(_SIGNATURE) if signed else start :]
