"""Encoders that return bytes, or that write in another order than front to back."""

from __future__ import annotations

import pyvips

from pixelflow.imaging.format import Chroma


def write(target: pyvips.Target, data: bytes) -> None:
    """Write bytes to a target. pyvips has no call for that; an image of one row is written as it is."""
    pyvips.Image.new_from_memory(data, len(data), 1, 1, "uchar").rawsave_target(target)


SUBSAMPLING = {Chroma.AUTO: "auto", Chroma.HALF: "on", Chroma.FULL: "off"}
"""The values of libvips for a resolution of the color channels."""

KEEP = "pixelflow-keep"
"""Metadata of an image: what the encoder should keep beside the color profile, as VipsForeignKeep."""
_ICC = 8


def kept(image: pyvips.Image, more: int = 0) -> int:
    """Return the option ``keep`` of libvips' encoders. pyvips takes several kinds only as a number."""
    return _ICC | more | (int(image.get(KEEP)) if image.get_typeof(KEEP) else 0)
