"""What a file is that PixelFlow does not read, for the message that refuses it."""

from __future__ import annotations

from pixelflow.imaging.markup import document_type

_TEXT_BYTES = 512

_VIDEO_BRANDS = {
    b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"M4VH", b"dash", b"mmp4", b"MSNV",
    b"3gp4", b"3gp5", b"3gp6", b"3gp7", b"3g2a", b"f4v ",
}  # fmt: skip
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\x1f\x8b", "gzip data, such as a compressed SVG"),
    (0, b"BZh", "bzip2 data"),
    (0, b"\xfd7zXZ\0", "XZ data"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x1a\x45\xdf\xa3", "a video (WebM or Matroska)"),
    (0, b"FLV\x01", "a video (FLV)"),
    (0, b"\0\0\x01\xba", "a video (MPEG)"),
    (0, b"\0\0\x01\xb3", "a video (MPEG)"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (Windows Media)"),
    (0, b"ID3", "audio (MP3)"),
    (0, b"\xff\xfb", "audio (MP3)"),
    (0, b"fLaC", "audio (FLAC)"),
    (0, b"OggS", "audio or video (Ogg)"),
    (0, b"8BPS", "a Photoshop document (PSD)"),
    (0, b"8BIM", "a Photoshop resource"),
    (0, b"gimp xcf", "a GIMP image (XCF)"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"SIMPLE  =", "a FITS image"),
    (0, b"DDS ", "a DirectDraw surface (DDS)"),
    (0, b"qoif", "a QOI image"),
    (0, b"II\xbc\x01", "a JPEG XR image"),
    (0, b"\0\0\x02\0", "a Windows cursor (CUR)"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"icns", "an Apple icon (ICNS)"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of old Microsoft Office"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xc5\xd0\xd3\xc6", "an encapsulated PostScript document"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"\x7fELF", "a program (ELF)"),
    (0, b"MZ", "a program for Windows"),
    (0, b"wOFF", "a font (WOFF)"),
    (0, b"wOF2", "a font (WOFF2)"),
    (0, b"OTTO", "a font (OpenType)"),
    (0, b"\0\x01\0\0\0", "a font (TrueType)"),
    (0, b"bplist00", "an Apple property list"),
)
_ZIP = b"PK\x03\x04"
_IN_ZIP = (
    (b"word/", "a Word document"),
    (b"xl/", "an Excel workbook"),
    (b"ppt/", "a PowerPoint presentation"),
    (b"[Content_Types].xml", "an Office document"),
    (b"mimetypeapplication/epub+zip", "an EPUB book"),
    (b"mimetypeapplication/vnd.oasis.opendocument", "an OpenDocument file"),
    (b"AndroidManifest.xml", "an Android app"),
)
"""Names of a ZIP archive's entries, which its headers repeat in plain text, and what has such an entry."""
_RIFF = {b"AVI ": "a video (AVI)", b"WAVE": "audio (WAV)", b"ACON": "an animated Windows cursor"}
_HTML = {"html", "head", "body", "script"}


def describe(head: bytes) -> str | None:
    """Name what a file is, such as ``a video (MP4)``, from its first bytes; None if they say nothing.

    Reads at most the bytes that it is given.
    """
    if not head.strip(b"\0"):
        return "empty" if not head else "a file of zeros"
    if head[4:8] == b"ftyp":
        return _container(head)
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head.startswith(_ZIP):
        return next((name for entry, name in _IN_ZIP if entry in head), "a ZIP archive")
    for offset, signature, name in _SIGNATURES:
        if head.startswith(signature, offset):
            return name
    return _text(head[:_TEXT_BYTES])


def _container(head: bytes) -> str:
    """Name a file of the ISO base media format (ISO/IEC 14496-12) by its major brand."""
    brand = head[8:12]
    if brand == b"qt  ":
        return "a video (QuickTime)"
    if brand in {b"M4A ", b"M4B "}:
        return "audio (MP4)"
    if brand in _VIDEO_BRANDS:
        return "a video (MP4)"
    return "a media file of an unknown kind"


def _text(head: bytes) -> str | None:
    if document_type(head) in _HTML:
        return "an HTML page"
    try:
        text = head.decode("utf-8", "strict" if len(head) < _TEXT_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    if any(char < " " and char not in "\t\r\n\f" for char in text):
        return None
    start = text.lstrip("\ufeff \t\r\n")[:1]
    return {"{": "JSON or text", "[": "JSON or text", "<": "an XML document"}.get(start, "text")
