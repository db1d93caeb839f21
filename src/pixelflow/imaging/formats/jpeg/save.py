"""Encodes JPEG."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.encoded import SUBSAMPLING
from pixelflow.imaging.formats.jpeg import JpegOptions
from pixelflow.imaging.gain_map import MAP

_ICC_AND_GAIN_MAP = 8 | 32
"""VIPS_FOREIGN_KEEP_ICC and VIPS_FOREIGN_KEEP_GAINMAP. pyvips takes several only as a number."""


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
        keep=_ICC_AND_GAIN_MAP if image.get_typeof(MAP) else "icc",
    )
