"""Parsing of colors as the API writes them. Never processes an image."""

from __future__ import annotations

from typing import NamedTuple


class Color(NamedTuple):
    """An sRGB color with alpha; channels from 0 to 255."""

    red: int
    green: int
    blue: int
    alpha: int

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The color without alpha."""
        return self[:3]

    @property
    def opaque(self) -> bool:
        """Whether the color is fully opaque."""
        return self.alpha == 255  # noqa: PLR2004 - maximum of a channel

    @property
    def light(self) -> bool:
        """Whether black contrasts with the color better than white does (luma of ITU-R BT.601)."""
        return 299 * self.red + 587 * self.green + 114 * self.blue > 127_500  # noqa: PLR2004 - 1000 × half the scale


def rgba(text: str) -> Color:
    """Parse ``#rrggbb`` or ``#rrggbbaa``."""
    return Color(*bytes.fromhex(text[1:].ljust(8, "f")))
