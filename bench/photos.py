"""Source photos: a real one with a free license, and others derived from it, in the sizes of cameras and phones.

Smooth pictures cost the decoder less than real photos, so grain like a sensor's is added to every resized photo. All
photos are the same in every run.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
REAL = ROOT / "examples" / "photo.jpg"
ABOUT = (
    "Photos: examples/photo.jpg (3.2 MP, stored on its side), and three made from it by cropping and scaling, with "
    "grain: 2.0, 3.0 and 4.0 MP."
)
_GRAIN = 3.0
"""Standard deviation of the grain, in steps of 255."""
_SEED = 20261126


@dataclass(frozen=True)
class _Derived:
    name: str
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the crop, as fractions of the upright photo."""
    size: tuple[int, int]
    quality: int


_DERIVED = (
    _Derived("landscape-4mp", (0.0, 0.0, 1.0, 1.0), (2668, 1500), 90),
    _Derived("square-3mp", (0.2, 0.0, 0.7625, 1.0), (1732, 1732), 92),
    _Derived("landscape-2mp", (0.1, 0.05, 0.85, 0.9388), (1732, 1155), 88),
)


def write_photos(folder: Path, most: int | None = None) -> list[Path]:
    """Write the photos to files, the real one first."""
    real = folder / "real-3mp.jpg"
    real.write_bytes(REAL.read_bytes())
    wanted: Sequence[_Derived] = _DERIVED if most is None else _DERIVED[: most - 1]
    return [real, *(_write(derived, folder) for derived in wanted)]


def _write(derived: _Derived, folder: Path) -> Path:
    picture = upright_photo()
    width, height = picture.size
    left, top, right, bottom = derived.box
    box = (left * width, top * height, right * width, bottom * height)
    path = folder / f"{derived.name}.jpg"
    scaled = picture.resize(derived.size, Image.Resampling.LANCZOS, box=box)
    with_grain(scaled).save(path, quality=derived.quality)
    return path


def upright_photo() -> Image.Image:
    """Return the real photo, upright."""
    with Image.open(REAL) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB")


def with_grain(picture: Image.Image) -> Image.Image:
    """Add grain like a sensor's; it is the same each time."""
    pixels = np.asarray(picture, dtype=np.float32)
    grain = np.random.default_rng(_SEED).normal(0.0, _GRAIN, pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).round().astype(np.uint8))


def write_large(path: Path, megapixels: int) -> Path:
    """Write a square photo tiled from the real one, which keeps its bits per pixel."""
    side = round((megapixels * 1_000_000) ** 0.5)
    tile = with_grain(upright_photo())
    canvas = Image.new("RGB", (side, side))
    for top in range(0, side, tile.height):
        for left in range(0, side, tile.width):
            canvas.paste(tile, (left, top))
    canvas.save(path, quality=90)
    return path


def write_gradient(path: Path, width: int = 1920, height: int = 1080) -> Path:
    """Write the gradient of the project's first benchmarks: a smooth PNG."""
    across = np.linspace(0, 255, width, dtype=np.float32)[None, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height, dtype=np.float32)[:, None].repeat(width, axis=1)
    pixels = np.stack([across, down, 255 - (across + down) / 2], axis=2).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return path
