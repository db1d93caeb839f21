"""Encodes JPEG."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.encoded import SUBSAMPLING, kept
from pixelflow.imaging.formats.jpeg import JpegOptions
from pixelflow.imaging.gain_map import MAP

_GAIN_MAP = 32
"""VIPS_FOREIGN_KEEP_GAINMAP."""


def save(image: pyvips.Image, target: pyvips.Target, quality: int, options: JpegOptions) -> None:
    """Append the image to the target.

    Not by default, measured on 16 photos of 1 to 24 MP, decoded, scaled to 640 pixels and encoded: optimized Huffman
    tables (1.6 % smaller; 1.4 ms, which is 5 % more CPU on average) and progressive (4.8 % smaller, 14 % more CPU).
    """
    image.jpegsave_target(
        target,
        Q=quality,
        subsample_mode=SUBSAMPLING[options.chroma],
        interlace=options.progressive,
        optimize_coding=options.optimize,
        trellis_quant=options.trellis,
        keep=kept(image, _GAIN_MAP if image.get_typeof(MAP) else 0),
    )
