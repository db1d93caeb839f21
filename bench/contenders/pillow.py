"""Contender: Pillow, used as its documentation recommends."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from bench.cases import TEXT
from bench.contenders.loop import serve

FONT = Path(__file__).parents[2] / "src" / "pixelflow" / "imaging" / "fonts" / "NotoSans-Regular.ttf"


def make(case: str, source: Path, folder: Path) -> None:
    """Make the outputs of the case."""
    match case:
        case "photo_jpeg" | "gradient_jpeg":
            _small(source, 640).save(folder / "small.jpg", quality=82)
        case "photo_png":
            _small(source, 640).save(folder / "small.png")
        case "gradient_watermark":
            _marked(source).save(folder / "marked.png")
        case _:
            raise LookupError(case)


def _small(source: Path, width: int) -> Image.Image:
    """Shrink in the decoder as far as Pillow's default allows (to twice the target), then resize with Lanczos."""
    with Image.open(source) as opened:
        turned = opened.getexif().get(0x0112, 1) >= 5  # EXIF: width and height are swapped
        across, along = reversed(opened.size) if turned else opened.size
        size = (width, round(along * width / across))
        stored = (size[1], size[0]) if turned else size
        opened.draft("RGB", (stored[0] * 2, stored[1] * 2))
        return ImageOps.exif_transpose(opened.convert("RGB").resize(stored, Image.Resampling.LANCZOS))


def _marked(source: Path) -> Image.Image:
    with Image.open(source) as opened:
        picture = opened.convert("RGBA")
    shorter = min(picture.size)
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    font = ImageFont.truetype(FONT, round(0.05 * shorter))
    place = (picture.width - round(0.03 * shorter), picture.height - round(0.03 * shorter))
    draw.text(
        place, TEXT, font=font, anchor="rb", fill=(255, 255, 255, 166), stroke_width=2, stroke_fill=(0, 0, 0, 150)
    )
    return Image.alpha_composite(picture, layer).convert("RGB")


if __name__ == "__main__":
    serve(make)
