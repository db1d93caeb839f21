"""Curves from a stored value to linear light and back, and the tone mapping of HDR to SDR.

Stored values and linear light are from 0 to 1; light of HDR is in nits (cd/m²).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

SDR_WHITE = 203.0
"""Nits of diffuse white in HDR (BT.2408, table 1). It becomes the white of SDR, before highlights are compressed."""
HDR_PEAK = 1000.0
"""Nits of the brightest highlight that tone mapping keeps apart: the peak of HLG's nominal display (BT.2100, table 5),
and what most PQ pictures are mastered for."""


class Curve(Hashable, Protocol):
    """A curve from a stored value to linear light."""

    def __call__(self, value: float) -> float:
        """Return the light of a stored value, both from 0 to 1."""


@dataclass(frozen=True)
class Parametric:
    """``(a·x + b)^g + e`` from ``d`` on, ``c·x + f`` below (ICC.1:2022, 10.18, function type 4)."""

    g: float
    a: float = 1
    b: float = 0
    c: float = 0
    d: float = 0
    e: float = 0
    f: float = 0

    def __call__(self, value: float) -> float:
        """Return the light of a stored value."""
        if value < self.d:
            return self.c * value + self.f
        return float(max(self.a * value + self.b, 0) ** self.g) + self.e


@dataclass(frozen=True)
class Sampled:
    """Samples at equal distances, with straight lines between them."""

    samples: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Return the light of a stored value."""
        position = min(max(value, 0), 1) * (len(self.samples) - 1)
        low = min(int(position), len(self.samples) - 2)
        return self.samples[low] + (position - low) * (self.samples[low + 1] - self.samples[low])


SRGB = Parametric(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""IEC 61966-2-1."""
LINEAR = Parametric(1)


def encode_srgb(light: float) -> float:
    """Return the stored value of sRGB for linear light, both from 0 to 1."""
    if light <= 0.0031308:  # noqa: PLR2004 - IEC 61966-2-1
        return max(light, 0) * 12.92
    return min(1.055 * math.pow(light, 1 / 2.4) - 0.055, 1)


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
"""SMPTE ST 2084, also BT.2100 table 4."""
_PQ_PEAK = 10_000.0


def pq_to_nits(value: float) -> float:
    """Return the light of a stored value of PQ, in nits."""
    power = math.pow(max(value, 0), 1 / _M2)
    return _PQ_PEAK * math.pow(max(power - _C1, 0) / (_C2 - _C3 * power), 1 / _M1)


def nits_to_pq(nits: float) -> float:
    """Return the stored value of PQ for this light."""
    power = math.pow(max(nits, 0) / _PQ_PEAK, _M1)
    return math.pow((_C1 + _C2 * power) / (1 + _C3 * power), _M2)


def hlg_to_scene(value: float) -> float:
    """Return the light of the scene, 0 to 1, of a stored value of HLG (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return value * value / 3 if value <= 0.5 else (math.exp((value - c) / a) + b) / 12  # noqa: PLR2004


def tone_map(nits: float) -> float:
    """Compress light up to `HDR_PEAK` to SDR's 0 to 1, by the curve of BT.2390, 5.4.1.

    Light up to about 90 nits keeps its relation to `SDR_WHITE`.
    """
    peak = nits_to_pq(HDR_PEAK)
    value, white = min(nits_to_pq(nits) / peak, 1), nits_to_pq(SDR_WHITE) / peak
    knee = 1.5 * white - 0.5
    if value > knee:
        t = (value - knee) / (1 - knee)
        value = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * white
    return min(pq_to_nits(value * peak) / SDR_WHITE, 1)
