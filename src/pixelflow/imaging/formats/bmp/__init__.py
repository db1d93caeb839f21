"""BMP, the bitmap of Windows."""

from pixelflow.imaging.format import Format

FORMAT = Format(
    name="bmp",
    label="BMP",
    extension="bmp",
    media_type="image/bmp",
    reads_since=2,
    matches=lambda head: head[:2] == b"BM" and head[6:10] == bytes(4),
    decoder_bytes=8,
    decodes_whole=True,
    default_output="png",
)
