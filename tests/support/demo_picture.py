"""The README's picture of the demo: the source photo beside the five outputs.

make demo
.venv/bin/python -m tests.support.demo_picture demo-output docs/demo.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "examples" / "photo.jpg"
FONT = ROOT / "src" / "pixelflow" / "dataplane" / "imaging" / "fonts" / "NotoSans-Regular.ttf"
SIZE = (1280, 560)
QUALITY = 85
_BACKGROUND, _INK, _MUTED = "#ffffff", "#1f2328", "#59636e"
_FONT_SIZE = 17


@dataclass(frozen=True)
class Tile:
    """An image on the sheet: its file, the box that it is scaled into, and its caption."""

    path: Path
    left: int
    top: int
    width: int
    height: int
    title: str


def tiles(outputs: Path) -> Iterator[Tile]:
    """The source on the left, the outputs on the right."""
    yield Tile(SOURCE, 24, 24, 260, 462, "source, stored on its side")
    yield Tile(outputs / "hero.avif", 340, 24, 448, 196, "hero")
    yield Tile(outputs / "hero_marked.jpg", 808, 24, 448, 196, "hero_marked, made from hero")
    yield Tile(outputs / "card.webp", 340, 290, 348, 196, "card")
    yield Tile(outputs / "tile.png", 734, 290, 196, 196, "tile")
    yield Tile(outputs / "thumb.webp", 990, 402, 150, 84, "thumb")


def draw_sheet(outputs: Path) -> Image.Image:
    """Draw the sheet of the outputs in a folder."""
    sheet = Image.new("RGB", SIZE, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(FONT, _FONT_SIZE)
    for tile in tiles(outputs):
        with Image.open(tile.path) as image:
            scaled = image.convert("RGB").resize((tile.width, tile.height), Image.Resampling.LANCZOS)
            facts = f"{image.format} {image.width}×{image.height}, {tile.path.stat().st_size / 1000:.0f} kB"
        sheet.paste(scaled, (tile.left, tile.top))
        bottom = tile.top + tile.height + 6
        draw.text((tile.left, bottom), tile.title, font=font, fill=_INK)
        draw.text((tile.left, bottom + _FONT_SIZE + 5), facts, font=font, fill=_MUTED)
    draw.polygon([(302, 243), (302, 267), (322, 255)], fill=_MUTED)
    return sheet


if __name__ == "__main__":
    draw_sheet(Path(sys.argv[1])).save(sys.argv[2], quality=QUALITY, optimize=True)
