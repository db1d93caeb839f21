"""Files that decoders read otherwise than they are meant: alpha of AVIF, sizes that differ, EXIF behind the pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.pictures import Run, four_colors, near, upright

from pixelflow.errors import UndecodableError

GRAY_DEEP = Path(__file__).with_name("files") / "gray-deep.heic"
SIZE = (96, 64)
SAME = {"id": "out", "action": "resize", "width": 96, "format": "png"}
T = Image.Transpose


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, body: bytes, *, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags) + body)


def payload(image: Image.Image, subsampling: str = "4:4:4", **options: str) -> tuple[bytes, bytes]:
    """The coded data and the box `av1C` of a picture without alpha, from a file of Pillow's."""
    content = io.BytesIO()
    image.save(content, "AVIF", quality=100, subsampling=subsampling, **options)
    data = content.getvalue()
    start = data.index(b"mdat") + 4
    config = data.index(b"av1C") - 4
    return data[start:], data[config : config + struct.unpack_from(">I", data, config)[0]]


def avif(
    image: Image.Image,
    *,
    of_colors: tuple[bytes, ...] = (),
    of_alpha: tuple[bytes, ...] = (),
    premultiplied: bool = False,
    size: tuple[int, int] | None = None,
    alpha_range: str = "full",
) -> bytes:
    """An AVIF with alpha, whose items have transforms of their own."""
    colors, color_config = payload(image.convert("RGB"))
    alpha, alpha_config = payload(image.getchannel("A"), "4:0:0", range=alpha_range)
    ispe = full_box(b"ispe", struct.pack(">II", *(size or image.size)))
    pixi = full_box(b"pixi", bytes((3, 8, 8, 8)))
    auxc = full_box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    nclx = box(b"colr", b"nclx" + struct.pack(">HHHB", 1, 13, 6, 0x80))
    properties = [ispe, pixi, color_config, nclx, alpha_config, auxc, *of_colors, *of_alpha]
    mine = [1, 2, 0x83, 4, *(0x80 | 7 + place for place in range(len(of_colors)))]
    others = [1, 0x85, 6, *(0x80 | 7 + len(of_colors) + place for place in range(len(of_alpha)))]
    ipma = struct.pack(">I", 2) + b"".join(
        struct.pack(">HB", item, len(indexes)) + bytes(indexes) for item, indexes in ((1, mine), (2, others))
    )
    references = box(b"auxl", struct.pack(">HHH", 2, 1, 1))
    if premultiplied:
        references += box(b"prem", struct.pack(">HHH", 1, 1, 2))

    def meta(start: int) -> bytes:
        places = ((1, start, len(colors)), (2, start + len(colors), len(alpha)))
        iloc = b"".join(struct.pack(">HHHII", item, 0, 1, at, length) for item, at, length in places)
        items = b"".join(full_box(b"infe", struct.pack(">HH4sx", item, 0, b"av01"), version=2) for item in (1, 2))
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + full_box(b"pitm", struct.pack(">H", 1))
            + full_box(b"iloc", b"\x44\0" + struct.pack(">H", 2) + iloc)
            + full_box(b"iinf", struct.pack(">H", 2) + items)
            + full_box(b"iref", references)
            + box(b"iprp", box(b"ipco", b"".join(properties)) + full_box(b"ipma", ipma)),
        )

    ftyp = box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf")
    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + box(b"mdat", colors + alpha)


def irot(quarters: int) -> bytes:
    return box(b"irot", bytes((quarters,)))


def imir(axis: int) -> bytes:
    return box(b"imir", bytes((axis,)))


def clap(width: int, height: int, right: int, below: int) -> bytes:
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 1, below, 1))


def marked() -> Image.Image:
    """Four colors, of which one quarter is transparent."""
    image = four_colors(*SIZE).convert("RGBA")
    image.putalpha(Image.new("L", SIZE, 255))
    alpha = image.getchannel("A")
    alpha.paste(0, (48, 0, 96, 32))
    image.putalpha(alpha)
    return image


TURNED: dict[str, tuple[tuple[bytes, ...], T | None]] = {
    "rotated by 90": ((irot(1),), T.ROTATE_270),
    "rotated by 180": ((irot(2),), T.ROTATE_180),
    "rotated by 270": ((irot(3),), T.ROTATE_90),
    "mirrored down": ((imir(0),), T.FLIP_TOP_BOTTOM),
    "mirrored across": ((imir(1),), T.FLIP_LEFT_RIGHT),
    "rotated and mirrored": ((irot(1), imir(0)), T.TRANSPOSE),
    "rotated and mirrored across": ((irot(1), imir(1)), T.TRANSVERSE),
}
"""Properties of the colors, and how the picture is stored so that they make it upright."""


@pytest.mark.parametrize("both", [False, True], ids=["of the colors alone", "of both"])
@pytest.mark.parametrize("name", TURNED)
def test_alpha_of_an_avif_turns_with_the_colors(run: Run, tmp_path: Path, name: str, both: bool) -> None:
    transforms, stored = TURNED[name]
    source = tmp_path / "in.avif"
    image = marked() if stored is None else marked().transpose(stored)
    source.write_bytes(avif(image, of_colors=transforms, of_alpha=transforms if both else ()))
    rendered = run(source, SAME)
    assert (rendered.source.width, rendered.source.height) == SIZE
    with Image.open(tmp_path / "out.png") as output:
        assert output.size == SIZE
        assert upright(output)
        alpha = output.getchannel("A")
        assert [alpha.getpixel(at) for at in ((24, 16), (72, 16), (24, 48), (72, 48))] == [255, 0, 255, 255]


def test_alpha_of_an_avif_is_cropped_with_the_colors(run: Run, tmp_path: Path) -> None:
    """The right half, then turned upside down."""
    source = tmp_path / "in.avif"
    source.write_bytes(avif(marked(), of_colors=(clap(48, 64, 24, 0), irot(2))))
    run(source, SAME)
    with Image.open(tmp_path / "out.png") as output:
        assert output.size == (48, 64)
        assert [output.getchannel("A").getpixel(at) for at in ((24, 16), (24, 48))] == [255, 0]
        assert near(output.convert("RGB").getpixel((24, 16)), (220, 200, 30))  # type: ignore[arg-type]


@pytest.mark.parametrize("premultiplied", [False, True])
def test_premultiplied_colors_of_an_avif_are_divided_by_alpha(run: Run, tmp_path: Path, premultiplied: bool) -> None:
    color = (100, 50, 20) if premultiplied else (200, 100, 40)
    source = tmp_path / "in.avif"
    source.write_bytes(avif(Image.new("RGBA", SIZE, (*color, 128)), premultiplied=premultiplied))
    run(source, SAME)
    with Image.open(tmp_path / "out.png") as output:
        assert near(output.getpixel((48, 32)), (200, 100, 40, 128), 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha_range", ["full", "limited"])
def test_alpha_of_an_avif_spans_all_values(run: Run, tmp_path: Path, alpha_range: str) -> None:
    image = Image.new("RGBA", SIZE, (200, 100, 40, 255))
    for left, value in ((0, 0), (32, 128)):
        image.paste((200, 100, 40, value), (left, 0, left + 32, 64))
    source = tmp_path / "in.avif"
    source.write_bytes(avif(image, alpha_range=alpha_range))
    run(source, SAME)
    with Image.open(tmp_path / "out.png") as output:
        found = [output.getchannel("A").getpixel((x, 32)) for x in (16, 48, 80)]
        assert near(found, (0, 128, 255), 1)  # type: ignore[arg-type]


def test_an_avif_whose_header_says_a_smaller_size_than_is_coded_is_damaged(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "in.avif"
    source.write_bytes(avif(Image.new("RGBA", (512, 512), (9, 9, 9, 128)), size=(64, 64)))
    with pytest.raises(UndecodableError):
        run(source, SAME)


def exif(orientation: int, order: str) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def png_with_exif_behind(image: Image.Image, body: bytes) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    data = content.getvalue()
    late = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    return data[:-12] + late + data[-12:]


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_behind_the_pixels_of_a_png_is_applied(run: Run, tmp_path: Path, order: str) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(png_with_exif_behind(four_colors(*SIZE).transpose(T.ROTATE_90), exif(6, order)))
    rendered = run(source, SAME)
    assert (rendered.source.width, rendered.source.height) == SIZE
    assert upright(Image.open(tmp_path / "out.png"))


DAMAGED_EXIF: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "cut": lambda: exif(6, "<")[:12],
    "no orientation": lambda: exif(99, "<"),
    "a directory outside": lambda: b"II*\0\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("name", DAMAGED_EXIF)
def test_damaged_exif_behind_the_pixels_is_ignored(run: Run, tmp_path: Path, name: str) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(png_with_exif_behind(four_colors(*SIZE), DAMAGED_EXIF[name]()))
    run(source, SAME)
    assert upright(Image.open(tmp_path / "out.png"))


@pytest.mark.parametrize("stated", [8, 10])
def test_a_gray_heic_has_the_depth_that_it_states_or_is_damaged(run: Run, tmp_path: Path, stated: int) -> None:
    """Libheif returns gray values with the depth that is coded; read with another, they are no picture."""
    content = bytearray(GRAY_DEEP.read_bytes())
    configuration = content.index(b"hvcC") + 4
    for place in (configuration + 17, configuration + 18):
        content[place] = content[place] & 0xF8 | (stated - 8)
    (tmp_path / "in.heic").write_bytes(content)
    step = {"id": "out", "action": "convert", "format": "png"}
    if stated == 8:
        with pytest.raises(UndecodableError):
            run(tmp_path / "in.heic", step)
        return
    run(tmp_path / "in.heic", step)
    with Image.open(tmp_path / "out.png") as image:
        assert [image.getpixel((x, 24)) for x in (4, 40, 75)] == pytest.approx([13, 129, 242], abs=3)
