"""Test images that show their orientation, and functions to inspect outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelflow.imaging.protocol import Rendered

Run = Callable[..., Rendered]
Pixels = NDArray[np.uint8]
"""Height × width × 3 or 4 channels."""
Draw = Callable[..., Pixels]
Flat = Callable[..., tuple[int, ...]]
QUADRANTS = {
    "northwest": (220, 30, 30),
    "northeast": (30, 200, 30),
    "southwest": (30, 30, 220),
    "southeast": (220, 200, 30),
}


def four_colors(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height))
    for name, color in QUADRANTS.items():
        left = width // 2 if "east" in name else 0
        top = height // 2 if "south" in name else 0
        image.paste(color, (left, top, left + width // 2, top + height // 2))
    return image


def corner_colors(image: Image.Image) -> dict[str, tuple[int, int, int]]:
    """The color in the middle of each quadrant."""
    rgb, (width, height) = image.convert("RGB"), image.size
    return {
        name: rgb.getpixel((width * (3 if "east" in name else 1) // 4, height * (3 if "south" in name else 1) // 4))  # type: ignore[misc]
        for name in QUADRANTS
    }


def near(one: tuple[float, ...], other: tuple[float, ...], tolerance: float = 12) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def upright(image: Image.Image) -> bool:
    found = corner_colors(image)
    return all(near(found[name], color) for name, color in QUADRANTS.items())
