"""Lookup tables and matrices as libvips takes them.

Tables are plain memory, so that a process that will fork can make them: operations of libvips would start threads.
"""

from __future__ import annotations

from array import array
from bisect import bisect
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import pyvips

from pixelflow.imaging.colour import curves
from pixelflow.imaging.colour.curves import Curve
from pixelflow.imaging.colour.gamut import Matrix

WHITE = 16_383
"""White in linear light, and opaque alpha beside it: 14 bits keep the darkest values of 8-bit sRGB apart."""
_INDEX_BITS = 12
"""Of 16-bit values that index a table: more than 8 bits need on any curve, and all that AVIF and HEIF have."""
_SHORT_STEPS = (1 << _INDEX_BITS) + 1
_WIDE_STEPS = 1 << 16
CHANNELS = 3
"""Bands of a color image without alpha; a gray one has 1, or 2 with alpha."""


def prepare() -> None:
    """Compute the tables that most pictures need, about 30 ms."""
    for bands in range(1, 5):
        _encoded((curves.SRGB,) * CHANNELS, bands)
    _rounded()


class Index(NamedTuple):
    """Positions in a table, instead of values."""

    positions: pyvips.Image
    steps: int
    """Entries of the table."""


def index(image: pyvips.Image, *, wide: bool = False) -> Index:
    """Return the positions of the image's values in a table; of 16-bit values, each its own only if ``wide``."""
    if image.format == "uchar":
        return Index(image, 256)
    if wide:
        return Index(image, _WIDE_STEPS)
    shift = 1 << (16 - _INDEX_BITS)
    return Index(image.linear(1 / shift, 0.5).cast("ushort"), _SHORT_STEPS)


def decoder(of_channels: Sequence[Curve], index_: Index, *, alpha: bool) -> pyvips.Image:
    """Return the table from positions to linear light, 0 to `WHITE`, with a band for each of the image."""
    bands = index_.positions.bands
    curves_ = tuple(of_channels[:1] if bands < CHANNELS else of_channels)
    return table(_decoded(curves_, index_.steps, alpha), "f", bands, "float")


@lru_cache(maxsize=4)
def _decoded(of_channels: tuple[Curve, ...], entries: int, alpha: bool) -> bytes:
    positions = [index_ / (entries - 1) for index_ in range(entries)]
    of_curve = {curve: [curve(position) * WHITE for position in positions] for curve in set(of_channels)}
    bands = [of_curve[curve] for curve in of_channels]
    if alpha:
        bands.append([position * WHITE for position in positions])
    return array("f", [value for entry in zip(*bands, strict=True) for value in entry]).tobytes()


def encoder(of_channels: Sequence[Curve], bands: int) -> pyvips.Image:
    """Return the table from linear light to 8-bit values on these curves; the last of 2 or 4 bands is alpha."""
    return table(_encoded(tuple(of_channels), bands), "B", bands, "uchar")


@lru_cache(maxsize=8)
def _encoded(of_channels: tuple[Curve, ...], bands: int) -> bytes:
    has_alpha = bands % 2 == 0
    columns = [_values(curve) for curve in of_channels[: bands - has_alpha]]
    if has_alpha:
        columns.append(_values(curves.LINEAR))
    return bytes(value for entry in zip(*columns, strict=True) for value in entry)


@lru_cache(maxsize=8)
def _values(curve: Curve) -> bytes:
    """Return the nearest of 256 values for each step of light, which casting to an integer has rounded down."""
    return bytes(value_of(curve, (step + 0.5) / WHITE) for step in range(WHITE + 1))


def wide_encoder(of_channels: Sequence[Curve], bands: int) -> pyvips.Image:
    """Return the table from `wide_positions` of linear light to 16-bit values; the last of 2 or 4 bands is alpha."""
    has_alpha = bands % 2 == 0
    columns = [_wide_values(curve) for curve in of_channels[: bands - has_alpha]]
    if has_alpha:
        columns.append(_wide_values(curves.LINEAR))
    entries = array("H", [value for entry in zip(*columns, strict=True) for value in entry])
    return table(entries.tobytes(), "H", bands, "ushort")


def wide_positions(light: pyvips.Image) -> pyvips.Image:
    """Return the positions of linear light, 0 to `WHITE`, in a table of 16-bit values.

    They are square roots, which are about as far apart as values of sRGB: the steepest part of its curve, near black,
    has 1.5 values for a position, and 13 for a step of 16 bits of light.
    """
    return (((light < 0).ifthenelse(0, light) / WHITE) ** 0.5).linear(_WIDE_STEPS - 1, 0.5).cast("ushort")


@lru_cache(maxsize=8)
def _wide_values(curve: Curve) -> array[int]:
    """Return the nearest of 65 536 values for each position, by the inverse of the rising curve."""
    last = _WIDE_STEPS - 1
    borders = [curve((value + 0.5) / last) for value in range(last)]
    values, value = array("H"), 0
    for position in range(_WIDE_STEPS):
        wanted = (position / last) ** 2
        while value < last and borders[value] < wanted:
            value += 1
        values.append(value)
    return values


def unit(image: pyvips.Image) -> int:
    """Return what a level of 8 bits is in the values of the image: 1, or 257 if they have 16 bits."""
    return 257 if image.format == "ushort" else 1


def value_of(curve: Curve, light: float) -> int:
    """Return the 8-bit value on a rising curve that is nearest to the light, from 0 to 1."""
    return bisect(_borders(curve), light)


@lru_cache(maxsize=8)
def _borders(curve: Curve) -> list[float]:
    """Return the light at which a value ends and the next one begins."""
    return [curve((value + 0.5) / 255) for value in range(255)]


def rounding() -> pyvips.Image:
    """Return the table from 16 bits to 8."""
    return table(_rounded(), "B", 1, "uchar")


@cache
def _rounded() -> bytes:
    """Return the nearest of 256 values, which are 257 apart, for each of 65 536."""
    return bytes(129) + b"".join(bytes((value,)) * 257 for value in range(1, 255)) + b"\xff" * 129


def channel_mixer(matrix: Matrix, bands: int) -> pyvips.Image:
    """Return the matrix for `recomb`; a fourth band stays as it is."""
    if bands == CHANNELS:
        return pyvips.Image.new_from_array([list(row) for row in matrix])
    return pyvips.Image.new_from_array([*([*row, 0] for row in matrix), [0, 0, 0, 1]])


def table(entries: bytes, typecode: str, bands: int, format_: str) -> pyvips.Image:
    """Return the entries as an image of one row."""
    return pyvips.Image.new_from_memory(entries, len(entries) // array(typecode).itemsize // bands, 1, bands, format_)
