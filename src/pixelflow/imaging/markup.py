"""Finds out of what type a document in SGML's family is: SVG, HTML or other XML. Takes time linear in what it reads."""

from __future__ import annotations

import re

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = re.compile(rb"\s*")
_TYPE = re.compile(rb"<!doctype\s+(?:[\w.-]+:)?([\w.-]+)", re.IGNORECASE)
_ELEMENT = re.compile(rb"<(?:[\w.-]+:)?([\w.-]+)[\s/>]")
_SKIPPED = ((b"<!--", b"-->"), (b"<?", b"?>"))
"""Comments and processing instructions, such as the declaration of XML."""


def document_type(head: bytes) -> str | None:
    """Return the declared type of the document or the local name of its root element, in lower case.

    None if the first bytes have neither.
    """
    at = _skip(head, len(_BYTE_ORDER_MARK) if head.startswith(_BYTE_ORDER_MARK) else 0)
    found = _TYPE.match(head, at) or _ELEMENT.match(head, at)
    return found[1].decode().lower() if found else None


def _skip(head: bytes, at: int) -> int:
    """Return the place behind blanks, comments and processing instructions."""
    while True:
        space = _SPACE.match(head, at)
        at = space.end() if space else at
        end = next((head.find(end, at) + len(end) for start, end in _SKIPPED if head.startswith(start, at)), None)
        if end is None or end <= at:
            return at
        at = end
