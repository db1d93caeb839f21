"""Metadata that outputs keep, as other programs read them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
import pyvips
from PIL import Image, IptcImagePlugin
from tests.unit.imaging.pictures import Run, four_colors, upright

from pixelflow.imaging.exif import COPYRIGHT, text_of
from pixelflow.imaging.format import OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES, OutputEnds
from pixelflow.imaging.formats.registry import FORMATS, output_name

ORIENTATION, MAKE, ARTIST, RIGHTS, GPS = 0x0112, 0x010F, 0x013B, 0x8298, 0x8825
STEP = {"id": "out", "action": "resize", "width": 120}
WITH_XMP = ["jpeg", "png", "webp", "avif", "tiff"]
WITH_EXIF = ["jpeg", "png", "webp", "avif"]


def xmp(body: str) -> bytes:
    names = (
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    )
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {names} {body}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def exif(**tags: object) -> Image.Exif:
    """EXIF of a photo that lies on its side, with a place, and further tags such as ``t33432``."""
    made = Image.Exif()
    made[ORIENTATION], made[MAKE] = 6, "SECRET-CAMERA"
    made.get_ifd(GPS).update({1: "N", 2: (52.0, 31.0, 12.0)})
    for name, value in tags.items():
        made[int(name[1:])] = value
    return made


def photo(path: Path, **options: Any) -> Path:  # noqa: ANN401 - Pillow's own
    """A photo that is upright after a quarter turn clockwise."""
    four_colors(120, 80).transpose(Image.Transpose.ROTATE_90).save(path, "JPEG", quality=95, **options)
    return path


def output(tmp_path: Path, format_: str) -> Path:
    return tmp_path / output_name("out", format_)


def text_of_xmp(path: Path) -> bytes:
    """The file, which holds XMP as it is; PNG compresses it."""
    with Image.open(path) as image:
        text = getattr(image, "text", {}).get("XML:com.adobe.xmp", "")
        return path.read_bytes() + str(text).encode("latin-1")


def exif_of(path: Path) -> dict[int, Any]:
    with Image.open(path) as image:
        found = image.getexif()
        return {**found, **({GPS: dict(found.get_ifd(GPS))} if found.get_ifd(GPS) else {})}


@pytest.mark.parametrize("format_", WITH_EXIF)
def test_copyright_of_exif_is_kept_and_nothing_else(run: Run, tmp_path: Path, format_: str) -> None:
    source = photo(
        tmp_path / "in.jpg", exif=exif(t33432="(c) Acme (Ltd)", t315="Ann"), xmp=xmp('exif:GPSLatitude="52,31N">')
    )
    run(source, {**STEP, "format": format_, "metadata": "copyright"})
    found = exif_of(output(tmp_path, format_))
    assert (found[RIGHTS], found[ARTIST]) == ("(c) Acme (Ltd)", "Ann")
    assert MAKE not in found
    assert GPS not in found
    content = output(tmp_path, format_).read_bytes()
    assert b"SECRET" not in content
    assert b"52,31N" not in content


SOURCES: dict[str, dict[str, Any]] = {
    "XMP, elements": {
        "xmp": xmp(
            'tiff:Make="SECRET"><dc:rights><rdf:Alt><rdf:li xml:lang="x-default">© Acme &amp; Co</rdf:li></rdf:Alt>'
            "</dc:rights><dc:creator><rdf:Seq><rdf:li>Ann</rdf:li><rdf:li>Bob</rdf:li></rdf:Seq></dc:creator>"
            "<photoshop:Credit>DPA</photoshop:Credit>"
        )
    },
    "XMP, attributes": {"xmp": xmp('photoshop:Credit="DPA" dc:rights="© Acme &amp; Co" dc:creator="Ann; Bob">')},
}


@pytest.mark.parametrize("format_", WITH_XMP)
@pytest.mark.parametrize("name", SOURCES)
def test_copyright_of_xmp_is_kept_and_nothing_else(run: Run, tmp_path: Path, name: str, format_: str) -> None:
    run(photo(tmp_path / "in.jpg", **SOURCES[name]), {**STEP, "format": format_, "metadata": "copyright"})
    content = text_of_xmp(output(tmp_path, format_))
    for text in ("© Acme &amp; Co", "Ann; Bob", "<photoshop:Credit>DPA<"):
        assert text.encode() in content
    assert b"SECRET" not in content


def iptc(**datasets: str) -> bytes:
    """Photoshop's resource with IPTC datasets such as ``d116`` (copyright) and ``d90`` (city)."""
    values = b"".join(
        b"\x1c\x02" + struct.pack(">BH", int(name[1:]), len(text.encode())) + text.encode()
        for name, text in datasets.items()
    )
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(values)) + values + bytes(len(values) % 2)
    return b"Photoshop 3.0\0" + block


def with_segment(path: Path, marker: int, payload: bytes) -> Path:
    content = path.read_bytes()
    segment = bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload
    path.write_bytes(content[:2] + segment + content[2:])
    return path


def test_copyright_of_iptc_is_kept_and_nothing_else(run: Run, tmp_path: Path) -> None:
    resource = iptc(d80="Ann", d90="SECRET-CITY", d110="DPA", d116="© Acme")
    source = with_segment(photo(tmp_path / "in.jpg"), 0xED, resource)
    run(source, {**STEP, "format": "jpeg", "metadata": "copyright"}, {**STEP, "id": "all", "metadata": "all"})
    content = output(tmp_path, "jpeg").read_bytes()
    assert text_of(exif_bytes(content), COPYRIGHT) == "(C) Acme", "EXIF is ASCII"
    assert "© Acme".encode() in content
    assert b"<photoshop:Credit>DPA<" in content
    assert b"SECRET" not in content
    with Image.open(tmp_path / "all.jpg") as image:
        assert (IptcImagePlugin.getiptcinfo(image) or {})[(2, 90)] == b"SECRET-CITY"


def exif_bytes(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as image:
        found: bytes = image.info["exif"]
        return found


@pytest.mark.parametrize("format_", WITH_EXIF)
def test_all_metadata_are_kept_but_the_orientation_and_the_thumbnail(run: Run, tmp_path: Path, format_: str) -> None:
    """The thumbnail would show what a later step removed; the orientation would be applied twice."""
    made = exif(t33432="Acme")
    body = xmp('tiff:Orientation="6" tiff:Model="a camera"><tiff:Orientation>6</tiff:Orientation>')
    source = photo(tmp_path / "in.jpg", exif=with_thumbnail(made), xmp=body)
    assert source.read_bytes().count(b"\xff\xd8\xff") == 2, "the source has a thumbnail"
    run(source, {**STEP, "format": format_, "metadata": "all"})
    found = exif_of(output(tmp_path, format_))
    assert (found[MAKE], found[RIGHTS], found[ORIENTATION]) == ("SECRET-CAMERA", "Acme", 1)
    assert found[GPS] == {1: "N", 2: (52.0, 31.0, 12.0)}
    content = text_of_xmp(output(tmp_path, format_))
    assert b'tiff:Orientation="1" tiff:Model="a camera"><tiff:Orientation>1<' in content
    assert content.count(b"\xff\xd8\xff") == (1 if format_ == "jpeg" else 0)
    with Image.open(output(tmp_path, format_)) as image:
        assert image.size == (120, 80)
        assert upright(image)


def with_thumbnail(made: Image.Exif) -> bytes:
    """Append a second directory with a thumbnail, as cameras do."""
    data = made.tobytes().removeprefix(b"Exif\0\0")
    order = "<" if data.startswith(b"II") else ">"
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, first)
    link = first + 2 + 12 * count
    small = io.BytesIO()
    four_colors(16, 8).save(small, "JPEG")
    start = len(data) + 2 + 2 * 12 + 4
    entries = ((0x0201, start), (0x0202, len(small.getvalue())))
    second = struct.pack(f"{order}H", 2) + b"".join(struct.pack(f"{order}HHII", tag, 4, 1, at) for tag, at in entries)
    linked = data[:link] + struct.pack(f"{order}I", len(data)) + data[link + 4 :]
    return b"Exif\0\0" + linked + second + bytes(4) + small.getvalue()


@pytest.mark.parametrize("choice", ["strip", "copyright", "all"])
@pytest.mark.parametrize("format_", sorted(name for name, each in FORMATS.items() if each.writes and not each.extra))
def test_an_output_is_a_file_that_the_worker_accepts(run: Run, tmp_path: Path, format_: str, choice: str) -> None:
    source = photo(
        tmp_path / "in.jpg", exif=exif(t33432="Acme", t270="d" * 60_000), xmp=xmp(f'dc:format="{"x" * 60_000}">')
    )
    run(source, {**STEP, "format": format_, "metadata": choice})
    content = output(tmp_path, format_).read_bytes()
    read_size = FORMATS[format_].read_size
    assert read_size is not None
    ends = OutputEnds(content[:OUTPUT_HEAD_BYTES], content[-OUTPUT_TAIL_BYTES:], len(content))
    assert read_size(ends) == (120, 80)
    assert (b"SECRET" in content) == (choice == "all" and format_ in WITH_EXIF)


@pytest.mark.parametrize("format_", ["png", "tiff"])
def test_metadata_too_long_for_a_jpeg_are_left_out(run: Run, tmp_path: Path, format_: str) -> None:
    image = pyvips.Image.black(120, 80)
    image.set_type(pyvips.GValue.blob_type, "xmp-data", xmp(f'dc:format="{"SECRET" * 30_000}">'))
    image.pngsave(str(tmp_path / "in.png"))
    run(tmp_path / "in.png", {**STEP, "format": format_, "metadata": "all"})
    content = output(tmp_path, format_).read_bytes()
    read_size = FORMATS[format_].read_size
    assert read_size is not None
    assert read_size(OutputEnds(content[:OUTPUT_HEAD_BYTES], content[-OUTPUT_TAIL_BYTES:], len(content))) == (120, 80)
    assert b"SECRET" not in text_of_xmp(output(tmp_path, format_))


@pytest.mark.parametrize(
    "options",
    [
        {"exif": b"Exif\0\0MM\0*\xff\xff\xff\xff"},
        {"xmp": b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"},
        {"xmp": b"no XML at all"},
        {"xmp": b""},
        {},
    ],
    ids=["EXIF", "DTD", "XMP", "empty", "none"],
)
def test_damaged_metadata_are_left_out(run: Run, tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "in.jpg"
    four_colors(120, 80).save(path, "JPEG", quality=95, **options)
    run(path, {**STEP, "format": "jpeg", "metadata": "copyright"})
    with Image.open(output(tmp_path, "jpeg")) as image:
        assert upright(image)
        assert "xmp" not in image.info


NOTE = 0x927C
PREVIEWS = xmp(
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/" tiff:Model="a camera">'
    "<xmp:Thumbnails><rdf:Alt><rdf:li><xmpGImg:image>PREVIEW</xmpGImg:image></rdf:li></rdf:Alt></xmp:Thumbnails>"
)


def with_previews(path: Path) -> Path:
    made = exif(t33432="Acme")
    made.get_ifd(0x8769).update({NOTE: b"PREVIEW of a maker", 0x9003: "2020:01:01 00:00:00"})
    source = photo(path, exif=made, xmp=PREVIEWS)
    thumbnails = b"".join(b"8BIM" + struct.pack(">HHI", kind, 0, 8) + b"PREVIEW!" for kind in (0x0409, 0x040C))
    resource = iptc(d90="SECRET-CITY", d202="PREVIEW", d116="Acme")
    return with_segment(source, 0xED, b"Photoshop 3.0\0" + thumbnails + resource.removeprefix(b"Photoshop 3.0\0"))


@pytest.mark.parametrize("format_", WITH_EXIF)
def test_previews_are_not_kept(run: Run, tmp_path: Path, format_: str) -> None:
    run(with_previews(tmp_path / "in.jpg"), {**STEP, "format": format_, "metadata": "all"})
    content = text_of_xmp(output(tmp_path, format_))
    assert b"PREVIEW" not in content
    assert b'tiff:Model="a camera"' in content
    with Image.open(output(tmp_path, format_)) as image:
        assert image.getexif().get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
        if format_ == "jpeg":
            assert (IptcImagePlugin.getiptcinfo(image) or {})[(2, 90)] == b"SECRET-CITY"


def test_only_copyright_is_kept_of_a_picture_with_redacted_parts(run: Run, tmp_path: Path) -> None:
    redact = {"id": "r", "action": "redact", "output": False, "regions": [{"x": 0, "y": 0, "width": 9, "height": 9}]}
    run(with_previews(tmp_path / "in.jpg"), redact, {**STEP, "from": "r", "format": "jpeg", "metadata": "all"})
    content = output(tmp_path, "jpeg").read_bytes()
    assert text_of(exif_bytes(content), COPYRIGHT) == "Acme"
    assert not any(text in content for text in (b"SECRET", b"PREVIEW", b"a camera"))


def test_xmp_with_previews_in_another_form_is_left_out(run: Run, tmp_path: Path) -> None:
    body = xmp('xmlns:g="http://ns.adobe.com/xap/1.0/g/img/" g:image="PREVIEW">')
    run(photo(tmp_path / "in.jpg", xmp=body), {**STEP, "format": "jpeg", "metadata": "all"})
    assert b"PREVIEW" not in output(tmp_path, "jpeg").read_bytes()
