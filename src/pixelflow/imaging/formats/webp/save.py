"""Encodes WebP."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.encoded import kept
from pixelflow.imaging.formats.webp import WebpChroma, WebpOptions

_EFFORT = 2
"""Of 6: makes 59.0 KB in 22 ms of a 640 × 360 photo; the default of libvips (effort 4), 57.5 KB in 41 ms."""
_SHARP_QUALITY = 90
"""The quality from which ``auto`` is ``sharp``. Measured with red lines of one pixel on white: they keep 52 % of their
saturation, not 44 %, at any quality. A photo of 1280 × 720 at quality 90 takes 95 ms, not 39."""


def save(image: pyvips.Image, target: pyvips.Target, quality: int, options: WebpOptions) -> None:
    """Append the image to the target; one with ``page-height`` becomes an animation."""
    sharp = {WebpChroma.AUTO: quality >= _SHARP_QUALITY, WebpChroma.HALF: False, WebpChroma.SHARP: True}
    image.webpsave_target(
        target,
        Q=quality,
        effort=_EFFORT if options.effort is None else options.effort,
        lossless=options.lossless,
        near_lossless=options.near_lossless and not options.lossless,
        smart_subsample=sharp[options.chroma],
        keep=kept(image),
    )
