"""JPEG 2000 (ISO/IEC 15444-1), as a file or as a codestream."""

from pixelflow.imaging.format import Format

FORMAT = Format(
    name="jp2",
    label="JPEG 2000",
    extension="jp2",
    media_type="image/jp2",
    reads_since=2,
    matches=lambda head: head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    max_shrink=32,  # as far as the file has levels of resolution; most have five
    decoder_bytes=24,  # OpenJPEG has 32 bits per channel
    decodes_whole=True,
    default_output="jpeg",
)
