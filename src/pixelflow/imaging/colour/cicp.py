"""Coding-independent code points (ITU-T H.273), by which PNG, AVIF, HEIF and ICC profiles state a color space."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pixelflow.imaging.colour import curves, gamut
from pixelflow.imaging.colour.curves import Parametric
from pixelflow.imaging.colour.gamut import D65, Chromaticity, Primaries


class Hdr(StrEnum):
    """A transfer function of HDR (BT.2100)."""

    PQ = "pq"
    HLG = "hlg"


class CodePoints(NamedTuple):
    """The four values in the order of the standard."""

    primaries: int
    transfer: int
    matrix: int
    full_range: bool


@dataclass(frozen=True)
class StatedColor:
    """A color space as a file states it."""

    primaries: Primaries = gamut.SRGB
    curve: Parametric = curves.SRGB
    """Of SDR; for HDR, the curve of the picture after tone mapping."""
    hdr: Hdr | None = None
    full_range: bool = True
    """Whether stored values span all of their bits. If not, black is 16 and white 235 of 255."""


_C = Chromaticity(0.310, 0.316)
_PRIMARIES = {
    4: Primaries(Chromaticity(0.67, 0.33), Chromaticity(0.21, 0.71), Chromaticity(0.14, 0.08), _C),
    5: Primaries(Chromaticity(0.64, 0.33), Chromaticity(0.29, 0.60), Chromaticity(0.15, 0.06), D65),
    6: Primaries(Chromaticity(0.630, 0.340), Chromaticity(0.310, 0.595), Chromaticity(0.155, 0.070), D65),
    7: Primaries(Chromaticity(0.630, 0.340), Chromaticity(0.310, 0.595), Chromaticity(0.155, 0.070), D65),
    8: Primaries(Chromaticity(0.681, 0.319), Chromaticity(0.243, 0.692), Chromaticity(0.145, 0.049), _C),
    9: gamut.BT2020,
    11: gamut.DISPLAY_P3._replace(white=Chromaticity(0.314, 0.351)),
    12: gamut.DISPLAY_P3,
    22: Primaries(Chromaticity(0.630, 0.340), Chromaticity(0.295, 0.605), Chromaticity(0.155, 0.077), D65),
}
"""Table 2. Primaries that are not here are taken as sRGB's: 1 is, and 2 means unspecified."""
_CURVES = {4: Parametric(2.2), 5: Parametric(2.8), 8: curves.LINEAR}
"""Table 3. A transfer that is not here is taken as sRGB's. The standard gives 1, 6, 14 and 15 the curve of a camera,
not of a display; still pictures with these codes are made for, and viewers show them by, the curve of sRGB."""
_HDR = {16: Hdr.PQ, 18: Hdr.HLG}


def stated_color(points: CodePoints) -> StatedColor:
    """Return the color space of RGB values with these code points."""
    return StatedColor(
        _PRIMARIES.get(points.primaries, gamut.SRGB),
        _CURVES.get(points.transfer, curves.SRGB),
        _HDR.get(points.transfer),
        points.full_range,
    )
