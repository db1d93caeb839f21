"""Contender: bare pyvips, as a script would use it, with PixelFlow's operations and encoder settings.

One thread and no operation cache, like a worker's child.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyvips

from bench.cases import TEXT, WEBP_WIDTHS
from bench.contenders.loop import serve

FONTS = Path(__file__).parents[2] / "src" / "pixelflow" / "imaging" / "fonts" / "fonts.conf"
_RESIDUE = 1.5
"""As in ``imaging/plan.py``: how many times larger than the target the decoder must leave the picture."""


def make(case: str, source: Path, folder: Path) -> None:
    """Make the outputs of the case."""
    match case:
        case "jpeg_640" | "photo_jpeg" | "gradient_jpeg":
            small(source, 640).jpegsave(str(folder / "small.jpg"), Q=80 if case == "jpeg_640" else 82, keep="none")
        case "thumbnail_640" | "thumbnail_640_managed" | "thumbnail_avif_640" | "photo_png":
            thumbnail(case, source, folder)
        case "avif_640":
            small(source, 640).heifsave(str(folder / "small.avif"), Q=50, compression="av1", effort=0, keep="none")
        case "webp_4":
            for width in WEBP_WIDTHS:
                small(source, width).webpsave(str(folder / f"w{width}.webp"), Q=80, effort=2, keep="none")
        case "watermark":
            marked(source).jpegsave(str(folder / "marked.jpg"), Q=80, keep="none")
        case "gradient_watermark":
            marked(source).pngsave(str(folder / "marked.png"), compression=3, filter="all", keep="none")
        case _:
            in_floats(case, source, folder)


def thumbnail(case: str, source: Path, folder: Path) -> None:
    """Let libvips choose how to resize, with PixelFlow's encoder settings."""
    colors = {"output_profile": "srgb"} if case.endswith("managed") else {}
    image = pyvips.Image.thumbnail(str(source), 640, **colors)
    if case == "thumbnail_avif_640":
        image.heifsave(str(folder / "small.avif"), Q=50, compression="av1", effort=0, keep="none")
    elif case == "photo_png":
        image.pngsave(str(folder / "small.png"), compression=3, filter="all", keep="none")
    else:
        image.jpegsave(str(folder / "small.jpg"), Q=80, keep="none")


def in_floats(case: str, source: Path, folder: Path) -> None:
    """Resize a picture with alpha to a width of 640 without cutting off fractions, as `thumbnail` does twice."""
    image = _load(source)
    scale = 640 / image.width
    scaled = image.premultiply().resize(scale, vscale=round(image.height * scale) / image.height)
    result = scaled.unpremultiply().rint().cast("uchar")
    if case == "floats_webp_640":
        result.webpsave(str(folder / "small.webp"), Q=80, effort=2, keep="none")
    elif case != "floats_640":
        raise LookupError(case)
    else:
        flat = result.cast("float").flatten(background=[255, 255, 255]).rint().cast("uchar")
        flat.jpegsave(str(folder / "small.jpg"), Q=80, keep="none")


def small(source: Path, width: int) -> pyvips.Image:
    """Resize to ``width``, never enlarging: shrink in the decoder as far as allowed, then resize with Lanczos."""
    head = _load(source)
    lying = head.get_typeof("orientation") and head.get("orientation") >= 5  # EXIF: width and height are swapped
    across, along = (head.height, head.width) if lying else (head.width, head.height)
    width = min(width, across)
    height = round(along * width / across)
    image = _load(source, _shrink(across / width)) if source.suffix == ".jpg" else head
    to_width, to_height = (height, width) if lying else (width, height)
    image = image.resize(to_width / image.width, vscale=to_height / image.height)
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True)
    return image.copy_memory().autorot() if lying else image


def marked(source: Path) -> pyvips.Image:
    """Draw a text in the corner, with an outline so that it is legible on any background."""
    image = _upright(_load(source))
    em = 0.05 * min(image.width, image.height)
    pad, margin = round(3 * _spread(em)), round(0.03 * min(image.width, image.height))
    face = pyvips.Image.text(TEXT, font=f"Noto Sans {em:.2f}", dpi=72, align="high").copy_memory()
    face = face.embed(pad, pad, face.width + 2 * pad, face.height + 2 * pad).copy_memory()
    outline = (face.gaussblur(_spread(em)) * 3.0 * 0.9).cast("uchar")
    layers = _layer(outline, (0, 0, 0)).composite2(_layer(face, (255, 255, 255)), "over")
    overlay = (layers * [1, 1, 1, 0.65]).cast("uchar").copy(interpretation="srgb").copy_memory()
    left, top = image.width - overlay.width - margin, image.height - overlay.height - margin
    under = image.crop(left, top, overlay.width, overlay.height)
    return image.insert(under.composite2(overlay, "over").cast("uchar")[0:3], left, top)


def _spread(em: float) -> float:
    return min(max(em * 0.04, 0.7), 6.0)


def _layer(mask: pyvips.Image, rgb: tuple[int, int, int]) -> pyvips.Image:
    return mask.new_from_image([*rgb]).bandjoin(mask).copy(interpretation="srgb")


def _upright(image: pyvips.Image) -> pyvips.Image:
    turned = image.get_typeof("orientation") and image.get("orientation") != 1
    return image.copy_memory().autorot() if turned else image


def _load(source: Path, shrink: int = 1) -> pyvips.Image:
    options: dict[str, Any] = {"access": "sequential", "fail_on": "error"}
    if source.suffix == ".png":
        return pyvips.Image.pngload(str(source), **options)
    return pyvips.Image.jpegload(str(source), shrink=shrink, **options)


def _shrink(reduction: float) -> int:
    shrink = 1
    while shrink * 2 <= reduction / _RESIDUE and shrink < 8:  # the maximum of libjpeg
        shrink *= 2
    return shrink


if __name__ == "__main__":
    os.environ["FONTCONFIG_FILE"] = str(FONTS)
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    serve(make)
