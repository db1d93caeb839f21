"""TGA (Truevision TGA 2.0). It has no signature, so the fields of its header are checked."""

from pixelflow.imaging.format import Format

_MAPPED, _UNMAPPED = (1, 9), (2, 3, 10, 11)
_DEPTHS = {8, 15, 16, 24, 32}
_HEADER_BYTES = 18


def _matches(head: bytes) -> bool:
    if len(head) < _HEADER_BYTES:
        return False
    has_map, kind, map_bits, depth, descriptor = head[1], head[2], head[7], head[16], head[17]
    if has_map:
        valid = has_map == 1 and kind in _MAPPED and map_bits in _DEPTHS and head[3:5] == b"\0\0"
    else:
        valid = kind in _UNMAPPED and head[3:8] == bytes(5)
    return valid and depth in _DEPTHS and descriptor & 0xC0 == 0 and b"\0\0" not in (head[12:14], head[14:16])


FORMAT = Format(
    name="tga",
    label="TGA",
    extension="tga",
    media_type="image/x-tga",
    reads_since=2,
    matches=_matches,
    decoder_bytes=8,
    decodes_whole=True,
    default_output="png",
)
