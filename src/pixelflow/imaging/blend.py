"""Blend modes. Names only: the pixels are in ``layers``."""

from __future__ import annotations

from enum import StrEnum


class Blend(StrEnum):
    """How the colors of a layer are combined with those below: the modes of W3C Compositing and Blending Level 1."""

    OVER = "over"
    MULTIPLY = "multiply"
    SCREEN = "screen"
    OVERLAY = "overlay"
    DARKEN = "darken"
    LIGHTEN = "lighten"
    COLOR_DODGE = "color-dodge"
    COLOR_BURN = "color-burn"
    HARD_LIGHT = "hard-light"
    SOFT_LIGHT = "soft-light"
    DIFFERENCE = "difference"
    EXCLUSION = "exclusion"
