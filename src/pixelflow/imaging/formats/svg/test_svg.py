"""SVG: nothing outside the document is loaded, and it is drawn at the size that is needed."""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.every_format import svg
from tests.unit.imaging.pictures import Run, near, upright

from pixelflow.errors import TooManyPixelsError, UndecodableError, UnsupportedFormatError
from pixelflow.imaging.formats.registry import FORMATS
from pixelflow.imaging.formats.svg import load

STEP = {"id": "a", "action": "resize", "width": 120, "format": "png"}
BLACK = (0, 0, 0)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def _image(address: str) -> str:
    return f'<image x="0" y="0" width="120" height="80" preserveAspectRatio="none" xlink:href="{address}"/>'


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 8), BLACK).save(file, "PNG")
    return file.getvalue()


REFERENCES = {
    "an image": _image("{}"),
    "an image of SVG 2": '<image width="120" height="80" href="{}"/>',
    "an element of another document": '<use xlink:href="{}#a"/>',
    "a style sheet": "<style>@import url('{}');</style>",
    "a processing instruction": '<?xml-stylesheet href="{}"?>',
    "an inclusion": '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{}" parse="text"/>',
    "a filter": '<filter id="f"><feImage xlink:href="{}"/></filter><rect width="120" height="80" filter="url(#f)"/>',
    "a font": "<style>@font-face {{font-family: x; src: url('{}')}}</style><text font-family='x'></text>",
    "foreign content": '<foreignObject width="9" height="9"><iframe src="{}"/></foreignObject>',
    "a script": '<script xlink:href="{}"/>',
}


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("scheme", ["file", "http", "path"])
def test_nothing_outside_the_document_is_loaded(
    run: Run, tmp_path: Path, server: socket.socket, scheme: str, kind: str
) -> None:
    (tmp_path / "black.png").write_bytes(_png())
    address = {
        "file": f"file://{tmp_path}/black.png",
        "http": f"http://127.0.0.1:{server.getsockname()[1]}/black.png",
        "path": "black.png",
    }[scheme]
    (tmp_path / "in.svg").write_bytes(svg(REFERENCES[kind].format(address)))
    run(tmp_path / "in.svg", STEP)
    assert upright(Image.open(tmp_path / "a.png"))
    with pytest.raises(BlockingIOError):
        server.accept()


def test_an_image_in_the_document_is_drawn(run: Run, tmp_path: Path) -> None:
    """Shows that the pictures above would be visible."""
    data = base64.b64encode(_png()).decode()
    (tmp_path / "in.svg").write_bytes(svg(_image(f"data:image/png;base64,{data}")))
    run(tmp_path / "in.svg", STEP)
    with Image.open(tmp_path / "a.png") as image:
        assert near(image.convert("RGB").getpixel((60, 40)), BLACK)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "declaration", ['<!ENTITY x SYSTEM "file:///etc/hostname">', '<!ENTITY % x SYSTEM "http://a/">']
)
def test_external_entities_are_not_read(run: Run, tmp_path: Path, declaration: str) -> None:
    (tmp_path / "in.svg").write_bytes(f"<!DOCTYPE svg [{declaration}]>".encode() + svg("<text>&x;</text>"))
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.svg", STEP)


def test_entities_that_multiply_are_refused(run: Run, tmp_path: Path) -> None:
    """A billion laughs."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha"}">' for n in range(10))
    (tmp_path / "in.svg").write_bytes(f"<!DOCTYPE svg [{entities}]>".encode() + svg("<text>&e9;</text>"))
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.svg", STEP)


def test_a_drawing_that_is_enlarged_is_sharp(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.svg").write_bytes(svg())
    rendered = run(tmp_path / "in.svg", {**STEP, "width": 1200, "enlarge": True}, {**STEP, "id": "b", "width": 12})
    assert (rendered.source.width, rendered.source.height) == (120, 80)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (1200, 800)
        edge = [image.convert("RGB").getpixel((x, 200)) for x in (598, 601)]
    assert near(edge[0], (220, 30, 30), 4)  # type: ignore[arg-type]
    assert near(edge[1], (30, 200, 30), 4)  # type: ignore[arg-type]
    assert upright(Image.open(tmp_path / "b.png"))


def test_the_size_is_limited_before_it_is_drawn(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.svg").write_bytes(svg(width=100_000, height=100_000))
    with pytest.raises(TooManyPixelsError):
        run(tmp_path / "in.svg", STEP)


def test_the_bytes_are_limited(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MAX_BYTES", 500)
    (tmp_path / "in.svg").write_bytes(svg("<!--" + "x" * 500 + "-->"))
    with pytest.raises(UndecodableError, match="500 bytes"):
        run(tmp_path / "in.svg", STEP)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"<svg>", True),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a > b -->\n<svg xmlns='x'>", True),
        (b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/a.dtd" [<!ENTITY a "b">]> <svg\n>', True),
        (b"<svg:svg xmlns:svg='x'>", True),
        (b"<svgx>", False),
        (b"<html><svg></svg></html>", False),
        (b"<!doctype html><svg/>", False),
        (b"<?xml version='1.0'?><rss/>", False),
        (b"text <svg>", False),
        (b"<!--" * 1000, False),
    ],
)
def test_a_drawing_is_known_by_its_root_element(start: bytes, expected: bool) -> None:
    matches = FORMATS["svg"].matches
    assert matches is not None
    assert matches(start) is expected


def test_a_compressed_drawing_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.svgz").write_bytes(b"\x1f\x8b\x08" + bytes(30))
    with pytest.raises(UnsupportedFormatError, match="compressed SVG"):
        run(tmp_path / "in.svgz", STEP)


@pytest.mark.parametrize("form", ["plain", "lines", "percent", "reference", "many"])
def test_the_pixels_of_pictures_in_the_document_are_limited(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    content = io.BytesIO()
    Image.new("L", (60, 50)).save(content, "PNG")
    data = base64.b64encode(content.getvalue()).decode()
    number = 3 if form == "many" else 1
    data = {
        "lines": f"{data[:20]}\n  {data[20:]}",
        "percent": data.replace("A", "%41"),
        "reference": data.replace("A", "&#65;"),
    }.get(form, data)
    (tmp_path / "in.svg").write_bytes(svg(_image(f"data:image/png;base64,{data}") * number))
    monkeypatch.setattr(load, "MAX_EMBEDDED_PIXELS", 3000 * number)
    run(tmp_path / "in.svg", STEP)
    monkeypatch.setattr(load, "MAX_EMBEDDED_PIXELS", 3000 * number - 1)
    with pytest.raises(TooManyPixelsError, match="pictures in the SVG"):
        run(tmp_path / "in.svg", STEP)
