"""What a refused file is called."""

from __future__ import annotations

import re
import time

import pytest
from tests.support.waiting import assert_cpu_within

from pixelflow.imaging.file_types import describe
from pixelflow.imaging.format import SIGNATURE_BYTES


def _container(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + bytes(12)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "empty"),
        (bytes(50), "a file of zeros"),
        (_container(b"isom"), "a video (MP4)"),
        (_container(b"mp42"), "a video (MP4)"),
        (_container(b"qt  "), "a video (QuickTime)"),
        (_container(b"M4A "), "audio (MP4)"),
        (_container(b"abcd"), "a media file of an unknown kind"),
        (b"\x1a\x45\xdf\xa3" + bytes(20), "a video (WebM or Matroska)"),
        (b"RIFF\1\2\3\4AVI LIST", "a video (AVI)"),
        (b"RIFF\1\2\3\4WAVEfmt ", "audio (WAV)"),
        (b"PK\3\4" + bytes(20), "a ZIP archive"),
        (b"PK\3\4" + bytes(26) + b"[Content_Types].xml" + bytes(900) + b"word/document.xml", "a Word document"),
        (b"PK\3\4" + bytes(26) + b"[Content_Types].xml" + bytes(900) + b"xl/workbook.xml", "an Excel workbook"),
        (b"PK\3\4" + bytes(26) + b"[Content_Types].xml" + bytes(900), "an Office document"),
        (b"PK\3\4" + bytes(26) + b"mimetypeapplication/epub+zipPK\3\4", "an EPUB book"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip data, such as a compressed SVG"),
        (b"a" * 257 + b"ustar\0", "a tar archive"),
        (b"8BPS\0\1", "a Photoshop document (PSD)"),
        (b"\x7fELF\2", "a program (ELF)"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\n <!-- x --> <HTML lang='en'>", "an HTML page"),
        (b'<?xml version="1.0"?><rss/>', "an XML document"),
        (b'{"error": "not found"}', "JSON or text"),
        (b"AccessDenied", "text"),
        ("Grüße\n".encode() * 200, "text"),
        (b"\x93\x00\x17\xfe" * 20, None),
        (b"text\0with zeros", None),
    ],
)
def test_a_file_is_named_by_its_first_bytes(head: bytes, name: str | None) -> None:
    assert describe(head[:SIGNATURE_BYTES]) == name


@pytest.mark.parametrize("part", [b"<!--", b"<!-- -->", b" ", b"<", b"\xc3", b"<!--->"])
def test_no_content_takes_long(part: bytes) -> None:
    head = (part * SIGNATURE_BYTES)[:SIGNATURE_BYTES]
    start = time.process_time()
    name = describe(head)
    assert_cpu_within(0.05, start)
    assert name is None or re.fullmatch(r"[\w ,.()-]+", name)
