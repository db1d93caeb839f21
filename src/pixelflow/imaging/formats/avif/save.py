"""Encodes AVIF."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.encoded import SUBSAMPLING, kept
from pixelflow.imaging.formats.avif import AvifOptions

_EFFORT = 0
"""Of 9: makes 30.3 KB in 26 ms of a 640 × 360 photo; the default of libvips (effort 4), 30.3 KB in 1145 ms."""


def save(image: pyvips.Image, target: pyvips.Target, quality: int, options: AvifOptions) -> None:
    """Append the image to the target."""
    if options.wide:
        image = _rounded(image, options.bit_depth)
    image.heifsave_target(
        target,
        compression="av1",
        Q=quality,
        effort=_EFFORT if options.effort is None else options.effort,
        lossless=options.lossless,
        bitdepth=options.bit_depth,
        subsample_mode=SUBSAMPLING[options.chroma],
        keep=kept(image),
    )


def _rounded(image: pyvips.Image, bits: int) -> pyvips.Image:
    """Round 16-bit values to so many bits, in the upper ones of 16: the encoder cuts the others off."""
    levels = (1 << bits) - 1
    rounded: pyvips.Image = image.linear(levels / 65_535, 0.5).cast("ushort") << (16 - bits)
    return rounded
