"""HEIC (ISO/IEC 23008-12): still images in HEVC, as iPhones take them."""

from pixelflow.imaging.format import Format

_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}


def _matches(head: bytes) -> bool:
    """Whether the major or a compatible brand of the `ftyp` box (ISO/IEC 14496-12) is one of HEVC images'."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return head[4:8] == b"ftyp" and not _BRANDS.isdisjoint(head[start : start + 4] for start in range(8, end, 4))


FORMAT = Format(
    name="heic",
    label="HEIC",
    extension="heic",
    media_type="image/heic",
    other_media_types=("image/heif",),
    reads_since=2,
    extra="heic",
    wide=True,
    matches=_matches,
    decoder_bytes=12,
    decodes_whole=True,
    pages=True,
    default_output="jpeg",
)
