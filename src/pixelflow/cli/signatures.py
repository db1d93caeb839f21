"""Whether a file begins like a picture that PixelFlow reads: what can be told of it in a moment. Decodes nothing."""

from __future__ import annotations

from pathlib import Path

_HEAD_BYTES = 12
"""As far as the longest signature reaches."""


def begins_like_a_picture(path: Path) -> bool:
    """Whether the first bytes are those of a JPEG, PNG, WebP or AVIF.

    From their specifications: ITU-T T.81 (start of image, then another marker), PNG 1.2, the RIFF container of WebP,
    and the file type box of ISO/IEC 14496-12, whose brands are left to the worker.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return True
    return (head[:4], head[8:12]) == (b"RIFF", b"WEBP") or head[4:8] == b"ftyp"
