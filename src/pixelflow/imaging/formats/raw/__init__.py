"""Camera RAW: DNG, and the formats of camera makers that LibRaw reads."""

from pixelflow.imaging.format import Format
from pixelflow.imaging.formats.tiff.directory import is_camera_raw

_SIGNATURES = (
    b"FUJIFILMCCD-RAW",
    b"IIU\0",  # Panasonic
    b"IIRO", b"IIRS", b"MMOR",  # Olympus
    b"FOVb",  # Sigma
)  # fmt: skip
_CANON_CR3 = b"ftypcrx "


FORMAT = Format(
    name="raw",
    label="camera RAW",
    extension="dng",
    media_type="image/x-adobe-dng",
    other_media_types=("image/dng", "image/x-canon-cr2", "image/x-nikon-nef", "image/x-sony-arw"),
    reads_since=2,
    extra="raw",
    wide=True,
    matches=lambda head: head.startswith(_SIGNATURES) or head[4:12] == _CANON_CR3 or is_camera_raw(head),
    max_shrink=8,  # by the embedded preview, or by half when developed
    decoder_bytes=20,  # LibRaw has four channels of 16 bits, and its result is copied: also one of 16 bits
    decodes_whole=True,
    default_output="jpeg",
)
