"""Gamuts: primaries, white points and the matrices between them.

Matrices convert linear RGB to CIE XYZ relative to D50, as in ICC profiles, so that two of them give a conversion.
"""

from __future__ import annotations

from typing import NamedTuple

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]

D50: Vector = (0.9642, 1.0, 0.8249)
"""The white point of the profile connection space (ICC.1:2022, 7.2.16)."""
_BRADFORD: Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
"""Linear Bradford adaptation (ICC.1:2022, annex E)."""
_MIN_DETERMINANT = 1e-4
"""Primaries that span less are damaged: of all standard spaces, the smallest determinant is that of BT.470 with 0.1."""


class Chromaticity(NamedTuple):
    """CIE 1931 chromaticity."""

    x: float
    y: float


class Primaries(NamedTuple):
    """The three primaries and the white point of an RGB color space."""

    red: Chromaticity
    green: Chromaticity
    blue: Chromaticity
    white: Chromaticity


D65 = Chromaticity(0.3127, 0.3290)
SRGB = Primaries(Chromaticity(0.64, 0.33), Chromaticity(0.30, 0.60), Chromaticity(0.15, 0.06), D65)
"""IEC 61966-2-1 and BT.709."""
DISPLAY_P3 = Primaries(Chromaticity(0.680, 0.320), Chromaticity(0.265, 0.690), Chromaticity(0.150, 0.060), D65)
"""SMPTE EG 432-1."""
BT2020 = Primaries(Chromaticity(0.708, 0.292), Chromaticity(0.170, 0.797), Chromaticity(0.131, 0.046), D65)


def rgb_to_xyz(primaries: Primaries) -> Matrix:
    """Return the matrix from linear RGB of these primaries to XYZ, adapted to D50.

    Raises:
        ValueError: the primaries lie on a line, or a chromaticity has no luminance.
    """
    if min(each.y for each in primaries) <= 0:
        raise ValueError("a chromaticity has no luminance")
    columns = transposed((_xyz(primaries.red), _xyz(primaries.green), _xyz(primaries.blue)))
    white = _xyz(primaries.white)
    amounts = times(inverse(columns), white)
    scaled = _rows(tuple(value * amount for value, amount in zip(row, amounts, strict=True)) for row in columns)
    return product(adaptation(primaries.white), scaled)


def adaptation(white: Chromaticity) -> Matrix:
    """Return the matrix that adapts XYZ from this white point to D50 (the tag `chad` of a profile)."""
    source, target = times(_BRADFORD, _xyz(white)), times(_BRADFORD, D50)
    scale = tuple(to / from_ for to, from_ in zip(target, source, strict=True))
    scaled = _rows(tuple(factor * value for value in row) for factor, row in zip(scale, _BRADFORD, strict=True))
    return product(inverse(_BRADFORD), scaled)


def times(matrix: Matrix, vector: Vector) -> Vector:
    """Multiply a matrix by a column vector."""
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def product(left: Matrix, right: Matrix) -> Matrix:
    """Multiply two matrices."""
    return transposed(_rows(times(left, column) for column in transposed(right)))


def transposed(matrix: Matrix) -> Matrix:
    """Swap rows and columns."""
    return _rows(zip(*matrix, strict=True))


def inverse(matrix: Matrix) -> Matrix:
    """Invert a matrix.

    Raises:
        ValueError: the matrix is singular, or so nearly that it can be of no color space.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix
    cofactors: Matrix = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    determinant = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0]
    if abs(determinant) < _MIN_DETERMINANT:
        raise ValueError("the matrix is singular")
    return _rows(tuple(value / determinant for value in row) for row in cofactors)


def _xyz(color: Chromaticity) -> Vector:
    return color.x / color.y, 1.0, (1 - color.x - color.y) / color.y


def _rows(rows: object) -> Matrix:
    first, second, third = (tuple(row) for row in rows)  # type: ignore[attr-defined]
    return first, second, third
