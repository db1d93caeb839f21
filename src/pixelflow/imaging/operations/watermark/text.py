"""Rasterizes text, in any script that a bundled font covers."""

from __future__ import annotations

import unicodedata
from xml.sax.saxutils import escape

import pyvips

from pixelflow.imaging.colors import rgba
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.operations.watermark.model import Align, Font, Mark

_FAMILIES = {Font.SANS: "Noto Sans", Font.SERIF: "Noto Serif", Font.MONO: "Noto Sans Mono"}
_ALIGNMENTS = {Align.LEFT: "low", Align.CENTER: "centre", Align.RIGHT: "high"}
_LINE = 1.36
"""Distance of lines that Noto Sans asks for, in ems."""
_FIRST_SYMBOL = 0x2000
"""No character before it is an emoji by default."""
_EMOJI_PARTS = "\ufe0f\u20e3"
"""The selector of emoji, and the key around digits."""


def rasterize(mark: Mark, em: float, wrap: float | None) -> pyvips.Image:
    """Return the text with a font size of ``em`` pixels: what it covers, or RGBA if it may have colors of its own.

    Args:
        mark: the text and its font.
        em: font size in pixels.
        wrap: largest width of lines in ems; None: lines end at line breaks.
    """
    text = escape(mark.text or "")
    if not _may_have_colors(mark.text or ""):
        return _text(text, mark, em, wrap)
    foreground = "#{:02x}{:02x}{:02x}".format(*rgba(mark.color).rgb)
    return _text(f'<span foreground="{foreground}">{text}</span>', mark, em, wrap, rgba=True)


def _text(markup: str, mark: Mark, em: float, wrap: float | None, **options: object) -> pyvips.Image:
    font = f"{_FAMILIES[mark.font]} {'Bold ' if mark.bold else ''}{em:.2f}"
    if wrap is not None:
        options |= {"width": max(1, round(wrap * em)), "wrap": "word-char"}
    if mark.line_height > 1:
        options |= {"spacing": round((mark.line_height - 1) * _LINE * em)}
    # At 72 dpi a point is a pixel. Pango parses markup, so texts are escaped.
    return pyvips.Image.text(markup, font=font, dpi=72, align=_alignment(mark), **options).copy_memory()


def _may_have_colors(text: str) -> bool:
    return any(
        (ord(char) >= _FIRST_SYMBOL and unicodedata.category(char) == "So") or char in _EMOJI_PARTS for char in text
    )


def _alignment(mark: Mark) -> str:
    """Return the alignment of lines, by default toward the edge that the gravity names."""
    if mark.align is not None:
        return _ALIGNMENTS[mark.align]
    if mark.tile or mark.gravity in {Gravity.CENTER, Gravity.NORTH, Gravity.SOUTH}:
        return "centre"
    return "low" if "west" in mark.gravity.value else "high"
