"""What a step may ask for the color of its output."""

from __future__ import annotations

from enum import StrEnum


class ColorChoice(StrEnum):
    """The color space of an output."""

    SRGB = "srgb"
    P3 = "p3"
    KEEP = "keep"


class HdrChoice(StrEnum):
    """Whether an output has the gain map of its source."""

    DROP = "drop"
    KEEP = "keep"
