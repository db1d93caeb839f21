"""PBM, PGM and PPM of Netpbm."""

from pixelflow.imaging.format import Format

FORMAT = Format(
    name="ppm",
    label="PPM",
    extension="ppm",
    media_type="image/x-portable-pixmap",
    reads_since=2,
    matches=lambda head: head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n#",
    decoder_bytes=8,
    decodes_whole=True,
    default_output="png",
)
