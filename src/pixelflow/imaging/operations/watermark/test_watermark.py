"""Watermarks: visible on any background, in any script, at the right position, within bounds."""
# ruff: noqa: RUF001 - characters of other scripts are tested

from __future__ import annotations

import resource
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import pyvips
from PIL import Image, ImageChops
from tests.unit.imaging.marks import BACKGROUNDS, Draw, changed, contrast
from tests.unit.imaging.pictures import Run

from pixelflow.imaging.runtime import FONTS


@pytest.mark.parametrize("color", ["#ffffff", "#000000", "#ff0000"])
@pytest.mark.parametrize("background", ["white", "black", "gray", "noise"])
def test_a_text_of_any_color_is_visible_on_any_background(draw: Draw, background: str, color: str) -> None:
    assert contrast(draw(BACKGROUNDS[background], size=30, color=color)) > 60


def test_a_text_is_visible_on_a_transparent_background(draw: Draw) -> None:
    _, image = draw(BACKGROUNDS["transparent"], size=30)
    assert image.mode == "RGBA"
    assert image.getchannel("A").getextrema() == pytest.approx((0, 255 * 0.65), abs=15)


def test_contrast_grows_with_opacity(draw: Draw) -> None:
    faint, default, full = (
        contrast(draw(BACKGROUNDS["black"], size=40, **o)) for o in ({"opacity": 0.2}, {}, {"opacity": 1})
    )
    assert faint == pytest.approx(51, abs=4)
    assert default == pytest.approx(255 * 0.65, abs=4)
    assert full > 250
    assert contrast(draw(BACKGROUNDS["black"], size=40, color="#ffffff80", opacity=1)) == pytest.approx(128, abs=4)


SCRIPTS = {
    "latin": "Hello",
    "greek": "Γειά σου",
    "cyrillic": "Привет",
    "arabic": "مرحبا",
    "hebrew": "שלום",
    "devanagari": "नमस्ते",
    "bengali": "ওহে",
    "tamil": "வணக்கம்",
    "telugu": "హలో",
    "kannada": "ನಮಸ್ಕಾರ",
    "malayalam": "നമസ്കാരം",
    "gujarati": "નમસ્તે",
    "gurmukhi": "ਸਤਿ",
    "sinhala": "ආයුබෝවන්",
    "thai": "สวัสดี",
    "lao": "ສະບາຍດີ",
    "khmer": "សួស្តី",
    "myanmar": "မင်္ဂလာပါ",
    "tibetan": "བཀྲ་ཤིས",
    "georgian": "გამარჯობა",
    "armenian": "Բարեւ",
    "ethiopic": "ሰላም",
    "chinese": "你好世界",
    "japanese": "こんにちは",
    "korean": "안녕하세요",
    "symbols": "©®™✓★",
    "emoji": "😀👍",
}


def ink(text: str, font: str = "Noto Sans 32") -> pyvips.Image:
    return pyvips.Image.text(text, font=font, dpi=72).copy_memory()


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_every_script_has_glyphs(text: str) -> None:
    """Pango draws a character that no font covers as a box, and all boxes have the same size."""
    unassigned = ink("\u0378")
    for character in text:
        if character.isspace() or unicodedata.category(character).startswith("M"):
            continue
        glyph = ink(character)
        assert (glyph.width, glyph.height) != (unassigned.width, unassigned.height)


def test_an_unassigned_character_is_drawn_as_a_box() -> None:
    """Confirms the reference of the test above."""
    one, other = ink("\u0378"), ink("\u0379")
    assert (one.width, one.height) == (other.width, other.height)
    assert abs(one - other).max() > 0  # each box shows its code point


def test_arabic_letters_are_joined() -> None:
    """A shaped word is narrower than its isolated letters."""
    assert ink("سلام").width < ink("س\u200cل\u200cا\u200cم").width


@pytest.mark.parametrize("font", ["Noto Sans", "Noto Serif", "Noto Sans Mono", "Noto Sans Devanagari"])
def test_bold_is_bolder_even_without_a_bundled_bold_font(font: str) -> None:
    text = "नमस्ते" if "Deva" in font else "Illness"
    assert ink(text, f"{font} Bold 32").avg() > 1.05 * ink(text, f"{font} 32").avg()


def test_the_three_families_differ() -> None:
    words = {name: ink("Wimpel il", f"{name} 32") for name in ("Noto Sans", "Noto Serif", "Noto Sans Mono")}
    assert len({word.width for word in words.values()}) == 3


def test_only_bundled_fonts_are_used() -> None:
    """A family that the machine may have installed falls back to a bundled one."""
    assert ink("Hello", "DejaVu Serif 32").width == ink("Hello", "No Such Font 32").width


def test_setup_with_an_empty_environment_prints_nothing_and_writes_only_the_font_cache(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from pixelflow.imaging.runtime import prepare; import pyvips;"
        "prepare(pathlib.Path(sys.argv[1]));"
        "print(pyvips.Image.text('日本', font='Noto Sans 32', dpi=72).width)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "fonts")],
        env={"TMPDIR": str(tmp_path)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == ink("日本").width
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "fonts"]


def test_every_font_has_a_license() -> None:
    readme = (FONTS / "README.md").read_text()
    assert {"OFL-1.1.txt", "Apache-2.0.txt"} <= {path.name for path in FONTS.iterdir()}
    assert sum(path.stat().st_size for path in FONTS.glob("*.ttf")) < 16_500_000
    families = {path.name.split("-")[0] for path in FONTS.glob("*.ttf")}
    assert all(family in readme or family.startswith(("NotoSans", "NotoSerif")) for family in families)


def test_markup_is_drawn_as_plain_text(draw: Draw) -> None:
    plain = changed(draw(BACKGROUNDS["white"], text="<b>a & b</b>", size=20))
    shorter = changed(draw(BACKGROUNDS["white"], text="a & b", size=20))
    assert plain[2] - plain[0] > 1.8 * (shorter[2] - shorter[0])
    draw(BACKGROUNDS["white"], text="<span size='999999'>&#x41; <unclosed", size=20)


PLACES = [
    ("northwest", "left", "top"),
    ("north", "middle", "top"),
    ("northeast", "right", "top"),
    ("east", "right", "center"),
    ("southeast", "right", "bottom"),
    ("center", "middle", "center"),
    ("southwest", "left", "bottom"),
]


@pytest.mark.parametrize(("gravity", "across", "down"), PLACES)
def test_gravity_and_margin_position_the_text(draw: Draw, gravity: str, across: str, down: str) -> None:
    left, top, right, bottom = changed(draw(BACKGROUNDS["white"], gravity=gravity, margin=10, size=20))
    found_across = {"left": left - 10, "right": 290 - right, "middle": (left + right - 300) / 2}[across]
    found_down = {"top": top - 10, "bottom": 190 - bottom, "center": (top + bottom - 200) / 2}[down]
    assert -1 <= found_across <= 4
    assert -1 <= found_down <= 4


def test_the_default_position_is_southeast(draw: Draw) -> None:
    left, top, right, bottom = changed(draw(BACKGROUNDS["white"]))
    assert left > 150
    assert top > 100
    assert right < 300
    assert bottom < 200


def test_size_is_pixels_or_a_percentage_of_the_shorter_side(draw: Draw) -> None:
    heights = {}
    for size in (20, "10%", "20%"):
        _, top, _, bottom = changed(draw(BACKGROUNDS["white"], size=size))
        heights[size] = bottom - top
    assert heights["10%"] == heights[20]
    assert heights["20%"] == pytest.approx(2 * heights[20], rel=0.15)


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "much too long " * 10, "size": 60},
        {"size": 16_000},
        {"size": "100%", "rotation": 45},
        {"size": "100%", "stroke": {"width": "5%"}, "box": {}, "rotation": 20},
        {"text": "many words " * 20, "size": 80, "max_width": "90%", "line_height": 1.5},
        {"size": "100%", "shadow": {"x": "20%", "y": "-5%", "opacity": 1}},
    ],
)
def test_a_text_that_is_too_large_is_reduced_to_fit(draw: Draw, fields: dict[str, Any]) -> None:
    left, top, right, bottom = changed(draw(BACKGROUNDS["white"], margin=5, opacity=1, **fields))
    assert left >= 4
    assert top >= 4
    assert right <= 296
    assert bottom <= 196
    assert right - left > 250 or bottom - top > 150  # and not smaller than necessary


def test_rotation_is_clockwise(draw: Draw) -> None:
    left, top, right, bottom = changed(draw(BACKGROUNDS["white"], rotation=90, gravity="center", size=24))
    assert bottom - top > 2 * (right - left)
    _, image = draw(BACKGROUNDS["white"], text=".        ■", rotation=90, gravity="center", size=24, opacity=1)
    dark = ImageChops.invert(image.convert("L"))
    upper, lower = (sum(dark.crop(half).histogram()[40:]) for half in ((0, 0, 300, 100), (0, 100, 300, 200)))
    assert lower > upper  # the right end is now at the bottom


def test_tiles_reach_every_corner_and_leave_gaps(draw: Draw) -> None:
    pair = draw(BACKGROUNDS["gray"], tile=True, size=16, margin=10)
    difference = ImageChops.difference(*(image.convert("L") for image in pair))
    for left in (0, 225):
        for top in (0, 150):
            assert difference.crop((left, top, left + 75, top + 50)).getextrema()[1] > 60  # type: ignore[operator]
    touched = sum(difference.histogram()[9:]) / (300 * 200)
    assert 0.05 < touched < 0.7


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 3), (2, 4000)])
@pytest.mark.parametrize("fields", [{}, {"tile": True}, {"rotation": 33}, {"margin": 16_000}, {"margin": "100%"}])
def test_a_tiny_picture_can_have_a_watermark(draw: Draw, size: tuple[int, int], fields: dict[str, Any]) -> None:
    _, image = draw(Image.new("RGB", size, "white"), **fields)
    assert image.size == size


EXPENSIVE = [
    {"text": "W" * 256, "size": 16_000},
    {"text": "\n".join("W" * 128), "size": 16_000},
    {"text": ".", "size": 1, "margin": 0, "tile": True},
    {"text": "x", "margin": 16_384, "tile": True},
    {"text": "x", "margin": "100%", "tile": True},
    {"text": "e" + "\u0301" * 255, "size": "100%"},
    {"text": "﷽" * 256, "size": "100%", "rotation": 17, "tile": True},
    {"text": "👩‍👩‍👧" * 40, "size": "100%", "max_width": "50%"},
    {"text": "W" * 256, "size": 16_000, "max_width": 1, "stroke": {"width": "100%"}, "shadow": {"blur": "100%"}},
    {"text": "W", "size": "100%", "stroke": {"width": "100%"}, "shadow": {"x": "-100%", "blur": 16_384}, "rotation": 9},
    {"text": "x", "size": 1, "tile": True, "box": {"padding": "100%", "radius": "100%"}, "line_height": 4},
]


@pytest.mark.parametrize("size", [(2000, 1500), (10, 10)])
@pytest.mark.parametrize("fields", EXPENSIVE)
def test_no_text_costs_more_than_a_few_seconds(
    run: Run, tmp_path: Path, size: tuple[int, int], fields: dict[str, Any]
) -> None:
    Image.new("RGB", size, "white").save(tmp_path / "in.jpg")
    before = resource.getrusage(resource.RUSAGE_SELF)
    run(tmp_path / "in.jpg", {"id": "a", "action": "watermark", "format": "jpeg", "watermark": fields})
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 4
    assert after.ru_maxrss - before.ru_maxrss < 300_000  # KiB
