"""Encodes JPEG."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.formats.jpeg import JpegOptions


def save(image: pyvips.Image, target: pyvips.Target, quality: int, _options: JpegOptions) -> None:
    """Append the image to the target.

    Not used: optimized Huffman tables (1.5 % smaller, 30 % more CPU) and progressive (7 % smaller, 100 % more CPU),
    measured on a 640 × 360 photo.
    """
    image.jpegsave_target(target, Q=quality, keep="none")
