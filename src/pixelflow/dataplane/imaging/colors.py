"""Colours as the contract writes them. It must never touch a picture."""

from __future__ import annotations

from typing import NamedTuple


class Color(NamedTuple):
    """sRGB and alpha, 0 to 255."""

    red: int
    green: int
    blue: int
    alpha: int

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Without alpha."""
        return self[:3]

    @property
    def opaque(self) -> bool:
        """Whether nothing shines through."""
        return self.alpha == 255  # noqa: PLR2004 - the end of the scale

    @property
    def light(self) -> bool:
        """Whether black stands out from it better than white (luma of ITU-R BT.601)."""
        return 299 * self.red + 587 * self.green + 114 * self.blue > 127_500  # noqa: PLR2004 - 1000 × half the scale


def rgba(text: str) -> Color:
    """``#rrggbb`` or ``#rrggbbaa``."""
    return Color(*bytes.fromhex(text[1:].ljust(8, "f")))
