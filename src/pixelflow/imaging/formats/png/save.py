"""Encodes PNG, in true color or with a palette."""

from __future__ import annotations

from typing import Any

import pyvips

from pixelflow.imaging.encoded import kept, write
from pixelflow.imaging.formats.png import PngOptions

_EFFORT = 4
"""Level 3 with a filter chosen per row makes 464 KB in 27 ms of a 640 × 360 photo; the default of libvips (level 6
without filter), 619 KB in 22 ms."""
_PALETTE_EFFORT = 4
"""Of 10: 420 × 280 of a dithered gradient in 54 KB and 33 ms, with a mean error of 2.2; the default of libvips (7),
50 KB, 109 ms and 1.8. Below 4, colors that would fit into the palette change."""
_BIT_DEPTHS = (1, 2, 4, 8)


def save(image: pyvips.Image, target: pyvips.Target, _quality: int, options: PngOptions) -> None:
    """Append the image to the target."""
    if options.palette:
        image.pngsave_target(target, keep=kept(image), **_palette(options))
    elif options.palette is None and image.get_typeof("palette") and not options.wide:
        write(target, _smaller(image, options))
    else:
        image.pngsave_target(target, keep=kept(image), **_true_color(options))


def _smaller(image: pyvips.Image, options: PngOptions) -> bytes:
    """Encode a picture whose source had a palette in both ways. Scaled, it has more colors, but most are smaller so."""
    image = image.copy_memory()
    with_palette: bytes = image.pngsave_buffer(keep=kept(image), **_palette(options))
    true_color: bytes = image.pngsave_buffer(keep=kept(image), **_true_color(options))
    return min(with_palette, true_color, key=len)


def _palette(options: PngOptions) -> dict[str, Any]:
    return {
        "palette": True,
        "bitdepth": next(bits for bits in _BIT_DEPTHS if 1 << bits >= options.colors),
        "dither": options.dither,
        "effort": options.effort or _PALETTE_EFFORT,
        "compression": 9,
        "interlace": options.progressive,
    }


def _true_color(options: PngOptions) -> dict[str, Any]:
    return {"compression": (options.effort or _EFFORT) - 1, "filter": "all", "interlace": options.progressive}
