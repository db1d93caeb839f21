"""Metadata of the source that outputs keep: none, who made the picture and who owns it, or all.

The place where a photo was taken must never be in an output unless all metadata are wanted. The picture of an output is
upright, so its orientation is always 1. What shows the picture before it was cropped or redacted is never kept:
thumbnails, previews and the notes of a camera's maker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pyvips

from pixelflow.imaging.encoded import KEEP
from pixelflow.imaging.exif import ARTIST, COPYRIGHT, text_of, without_maker_note, without_thumbnail
from pixelflow.imaging.metadata_choice import MetadataChoice

_EXIF, _XMP, _IPTC = "exif-data", "xmp-data", "iptc-data"
_KEPT = re.compile(r"exif-ifd[0234]-(?!(Orientation|MakerNote)$)|(exif|xmp|iptc)-data$")
"""Fields of libvips. Directory 1 is that of the thumbnail."""
_METADATA = re.compile(r"exif-|(exif|xmp|iptc)-data$|jpeg-thumbnail-data$|orientation$")
_IN_XMP = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\s*\d+")
_THUMBNAILS = re.compile(rb"<(\w+):Thumbnails\b[^>]*(?<!/)>.*?</\1:Thumbnails\s*>", re.DOTALL)
_PREVIEWS = ("{http://ns.adobe.com/xap/1.0/}Thumbnails", "{http://ns.adobe.com/xap/1.0/g/img/}image")
_DATASET_RECORDS, _FIRST_PREVIEW = (1, 2), 200
"""Records of IPTC-IIM that are kept, and the first of the datasets that hold a preview (2:200 to 2:202)."""
_IPTC_RESOURCE = b"8BIM\x04\x04\0\0"
"""The resource of Photoshop that holds IPTC, without a name. Others hold thumbnails, EXIF and XMP."""
_PHOTOSHOP = b"Photoshop 3.0\0"
_FLAGS = {"exif": 1, "xmp": 2, "iptc": 4}
"""Of VipsForeignKeep."""
_MAX_TEXT = 2000
_MAX_BYTES = 1 << 16
"""Of EXIF, XMP and IPTC each, as in a JPEG: the worker looks for the header of an output behind them."""

_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}
_DATASETS = {80: "creator", 110: "credit", 116: "rights"}
"""Of the application record (IPTC-IIM 4.2, record 2)."""


@dataclass(frozen=True)
class Metadata:
    """Metadata of a source: fields of its decoded image."""

    fields: Mapping[str, str | bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, image: pyvips.Image) -> Metadata:
        """Read the metadata of a decoded image."""
        fields = {}
        for name in filter(_KEPT.match, image.get_fields()):
            with suppress(ValueError):  # a string that is not UTF-8
                fields[name] = image.get(name)
        return cls(fields)

    @property
    def copyright(self) -> dict[str, str]:
        """The texts ``rights``, ``creator`` and ``credit``, as far as EXIF, XMP or IPTC have them."""
        exif, xmp, iptc = (self._bytes(name) for name in (_EXIF, _XMP, _IPTC))
        stated = {"rights": text_of(exif, COPYRIGHT), "creator": text_of(exif, ARTIST)}
        found: dict[str, str] = {}
        for source in (stated, _of_xmp(xmp), _of_iptc(iptc)):
            found |= {name: text[:_MAX_TEXT] for name, text in source.items() if text and name not in found}
        return found

    def _bytes(self, name: str) -> bytes:
        value = self.fields.get(name, b"")
        return value if isinstance(value, bytes) else b""


def with_metadata_of(image: pyvips.Image, other: pyvips.Image) -> pyvips.Image:
    """Describe an image by the metadata of another of the same file, with its orientation."""
    image = image.copy()
    for name in filter(_METADATA.match, other.get_fields()):
        with suppress(ValueError):  # a string that is not UTF-8
            image.set_type(other.get_typeof(name), name, other.get(name))
    return image


def with_source_metadata(image: pyvips.Image, exif: bytes | None, xmp: bytes | None) -> pyvips.Image:
    """Give an upright image, which a decoder other than libvips made, the metadata of its file."""
    image = image.copy()
    if exif:
        image.set_type(pyvips.GValue.blob_type, _EXIF, exif)  # libvips reads all fields of it
        image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    if xmp:
        image.set_type(pyvips.GValue.blob_type, _XMP, xmp.rstrip(b"\0"))
    return image


def with_metadata(image: pyvips.Image, metadata: Metadata, choice: MetadataChoice) -> pyvips.Image:
    """Give an image exactly the metadata that the encoder should keep."""
    image = image.copy()
    for name in image.get_fields():
        if _METADATA.match(name):
            image.remove(name)
    kept = dict(metadata.fields) if choice is MetadataChoice.ALL else _fields_of_copyright(metadata.copyright)
    if isinstance(xmp := kept.get(_XMP), bytes):
        kept[_XMP] = _IN_XMP.sub(rb"\g<1>1", _without_previews(xmp))
    if isinstance(iptc := kept.get(_IPTC), bytes):
        kept[_IPTC] = _only_iptc(iptc)
    if isinstance(exif := kept.get(_EXIF), bytes):
        kept[_EXIF] = without_maker_note(without_thumbnail(exif))
    long = {_kind(name) for name, value in kept.items() if isinstance(value, bytes) and len(value) > _MAX_BYTES}
    kept = {name: value for name, value in kept.items() if value and _kind(name) not in long}
    for name, value in kept.items():
        kind = pyvips.GValue.blob_type if isinstance(value, bytes) else pyvips.GValue.gstr_type
        image.set_type(kind, name, value)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    flags = sum(flag for kind, flag in _FLAGS.items() if any(_kind(name) == kind for name in kept))
    image.set_type(pyvips.GValue.gint_type, KEEP, flags)
    return image


def _kind(name: str) -> str:
    """Return `exif`, `xmp` or `iptc`."""
    return name.partition("-")[0]


def _fields_of_copyright(texts: Mapping[str, str]) -> dict[str, str | bytes]:
    if not texts:
        return {}
    exif = {"exif-ifd0-Copyright": texts.get("rights"), "exif-ifd0-Artist": texts.get("creator")}
    # libvips cuts off a description in parentheses at the end, which may be part of the text.
    fields: dict[str, str | bytes] = {
        name: f"{text} (text, ASCII, 1 components, 1 bytes)" for name, text in exif.items() if text
    }
    return fields | {_XMP: _xmp(texts)}


def _xmp(texts: Mapping[str, str]) -> bytes:
    rights, creator, credit = (escape(texts.get(name, "")) for name in ("rights", "creator", "credit"))
    parts = [
        f'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">{rights}</rdf:li></rdf:Alt></dc:rights>' if rights else "",
        f"<dc:creator><rdf:Seq><rdf:li>{creator}</rdf:li></rdf:Seq></dc:creator>" if creator else "",
        f"<photoshop:Credit>{credit}</photoshop:Credit>" if credit else "",
    ]
    names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in _NAMESPACES.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF {names}><rdf:Description rdf:about="">{"".join(parts)}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="r"?>'
    ).encode()


def _without_previews(xmp: bytes) -> bytes:
    """Remove thumbnails from XMP; return nothing if that is not possible."""
    xmp = _THUMBNAILS.sub(b"", xmp)
    root = _parsed(xmp)
    if root is None or any(
        each.tag in _PREVIEWS or not each.attrib.keys().isdisjoint(_PREVIEWS) for each in root.iter()
    ):
        return b""
    return xmp


def _only_iptc(resources: bytes) -> bytes:
    """Return Photoshop's resources with no other than IPTC, and that without previews."""
    if not resources.startswith(_PHOTOSHOP):
        return _without_preview_datasets(resources)
    start = resources.find(_IPTC_RESOURCE) + len(_IPTC_RESOURCE) + 4
    if start < len(_PHOTOSHOP) + len(_IPTC_RESOURCE):
        return b""
    length = int.from_bytes(resources[start - 4 : start], "big")
    kept = _without_preview_datasets(resources[start : start + length])
    return _PHOTOSHOP + _IPTC_RESOURCE + len(kept).to_bytes(4, "big") + kept + bytes(len(kept) % 2)


def _without_preview_datasets(iptc: bytes) -> bytes:
    kept, position = bytearray(), 0
    while iptc[position : position + 1] == b"\x1c" and position + 5 <= len(iptc):
        record, number = iptc[position + 1], iptc[position + 2]
        end = position + 5 + int.from_bytes(iptc[position + 3 : position + 5], "big")
        if record in _DATASET_RECORDS and number < _FIRST_PREVIEW:
            kept += iptc[position:end]
        position = end
    return bytes(kept)


def _of_xmp(xmp: bytes) -> dict[str, str]:
    root = _parsed(xmp)
    if root is None:
        return {}
    named = {"rights": "dc:rights", "creator": "dc:creator", "credit": "photoshop:Credit"}
    return {name: _text(root, tag) for name, tag in named.items()}


def _parsed(xmp: bytes) -> ET.Element | None:
    if not xmp or b"<!DOCTYPE" in xmp or b"<!ENTITY" in xmp:
        return None
    start, end = xmp.find(b"<"), xmp.rfind(b">")
    try:
        return ET.fromstring(xmp[start : end + 1])  # noqa: S314 - has no DTD
    except (ET.ParseError, ValueError, LookupError):
        return None


def _text(root: ET.Element, tag: str) -> str:
    """Return the text of an element, or of the attribute of the same name."""
    prefix, _, local = tag.partition(":")
    name = f"{{{_NAMESPACES[prefix]}}}{local}"
    element = root.find(f".//{name}")
    if element is not None:
        return "; ".join(part for each in element.itertext() if (part := each.strip()))
    return next((each.attrib[name] for each in root.iter() if name in each.attrib), "")


def _of_iptc(iptc: bytes) -> dict[str, str]:
    """Read the datasets of the application record, wherever they are in Photoshop's resources."""
    found: dict[str, str] = {}
    position = iptc.find(b"\x1c\x02")
    while 0 <= position <= len(iptc) - 5:
        number, length = iptc[position + 2], int.from_bytes(iptc[position + 3 : position + 5], "big")
        value = iptc[position + 5 : position + 5 + length]
        if name := _DATASETS.get(number):
            found[name] = "; ".join(filter(None, (found.get(name, ""), value.decode("utf-8", "replace").strip())))
        position = iptc.find(b"\x1c\x02", position + 5 + length)
    return found
