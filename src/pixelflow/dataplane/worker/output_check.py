"""Looks at what a child made: it must be what its format says, with the size that the child reported.

Reads headers only; the worker must never decode an image.
"""

from __future__ import annotations

import struct

from pixelflow.imaging.format import OutputEnds
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS


def size_in_pixels(format_: str, ends: OutputEnds) -> tuple[int, int]:
    """Return width and height as the output's header has them.

    Raises:
        ValueError: it is not a complete file of the format.
    """
    read_size = OUTPUT_FORMATS[format_].read_size
    assert read_size is not None  # noqa: S101 - the registry's test requires it of output formats
    try:
        return read_size(ends)
    except (struct.error, LookupError, ArithmeticError, TypeError) as error:
        raise ValueError("the header is not complete") from error
