"""The sizes of the pictures in an SVG document (URLs with the scheme `data`, RFC 2397), from their headers."""

from __future__ import annotations

import base64
import html
import re
from urllib.parse import unquote_to_bytes

import pyvips

_DATA_URL = re.compile(r"data:\s*([^,\"'<>]{0,200}),([^\"'<>)]*)", re.IGNORECASE)
_ENTITY = re.compile(r"<!ENTITY\s+[\w.:-]+\s+(?:\"([^\"]*)\"|'([^']*)')")
_MAX_PICTURES = 1000
_MAX_ENTITY = 200
"""Characters of an entity. Editors declare namespaces by them; a longer one may hold a picture."""
UNKNOWN_PIXELS = 1 << 40
"""Of documents whose pictures can't be counted."""


def embedded_pixels(document: bytes) -> int:
    """Return the pixels of all pictures in a document. What libvips can't read has none."""
    text = _text_of(document)
    if any(len(value) > _MAX_ENTITY or "data:" in value.lower() for value in map("".join, _ENTITY.findall(text))):
        return UNKNOWN_PIXELS
    found = _DATA_URL.findall(html.unescape(text))
    if len(found) > _MAX_PICTURES:
        return UNKNOWN_PIXELS
    return sum(_pixels(_content(kind, data)) for kind, data in found)


def _text_of(document: bytes) -> str:
    if document.startswith((b"\xff\xfe", b"\xfe\xff")):
        return document.decode("utf-16", "replace")
    return document.decode("latin-1")


def _content(kind: str, data: str) -> bytes:
    content = unquote_to_bytes(data)
    if "base64" not in kind.lower():
        return content
    letters = re.sub(rb"[^A-Za-z0-9+/]", b"", content)
    return base64.b64decode(letters[: len(letters) // 4 * 4])


def _pixels(content: bytes) -> int:
    try:
        image = pyvips.Image.new_from_source(pyvips.Source.new_from_memory(content), "", access="sequential")
    except pyvips.Error:
        return 0
    return int(image.width * image.height)
