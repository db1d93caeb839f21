"""Pictures with marks on them, and where the marks are."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageChops

Drawn = tuple[Image.Image, Image.Image]
Draw = Callable[..., Drawn]
BACKGROUNDS = {
    "white": Image.new("RGB", (300, 200), "white"),
    "black": Image.new("RGB", (300, 200), "black"),
    "gray": Image.new("RGB", (300, 200), (128, 128, 128)),
    "noise": Image.effect_noise((300, 200), 90).convert("RGB"),
    "transparent": Image.new("RGBA", (300, 200), (0, 0, 0, 0)),
}


def changed(pair: Drawn) -> tuple[int, int, int, int]:
    """The bounding box of all pixels that changed by more than 8 in any channel."""
    box = ImageChops.difference(*pair).point(lambda value: 255 if value > 8 else 0).getbbox(alpha_only=False)
    assert box is not None, "nothing was drawn"
    return box


def contrast(pair: Drawn) -> int:
    """The largest change in brightness."""
    _, high = ImageChops.difference(*(image.convert("L") for image in pair)).getextrema()
    assert isinstance(high, int)
    return high
