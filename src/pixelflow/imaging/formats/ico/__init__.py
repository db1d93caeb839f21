"""ICO, the icon of Windows: its largest image."""

from pixelflow.imaging.format import Format

FORMAT = Format(
    name="ico",
    label="ICO",
    extension="ico",
    media_type="image/x-icon",
    reads_since=2,
    matches=lambda head: head.startswith(b"\0\0\1\0") and head[4:6] != b"\0\0" and head[9:10] == b"\0",
    decoder_bytes=12,
    decodes_whole=True,
    default_output="png",
)
