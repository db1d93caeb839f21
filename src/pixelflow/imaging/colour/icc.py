"""ICC profiles: reads those of matrix and gray type (ICC.1:2022), and writes compact ones.

Profiles with lookup tables are left to libvips. Reading must never raise: profiles of sources are untrusted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from pixelflow.imaging.colour import curves, gamut
from pixelflow.imaging.colour.cicp import CodePoints
from pixelflow.imaging.colour.curves import Curve, Parametric, Sampled
from pixelflow.imaging.colour.gamut import Matrix, Primaries, Vector

_HEADER_BYTES = 128
_MAX_TAGS = 100
_MAX_SAMPLES = 65_536
_TABLES = (b"A2B0", b"A2B1", b"D2B0", b"D2B1")
"""A profile with one of these converts by it, whatever else it holds."""
_PARAMETERS = (0, 3, 4, 5, 7)
"""Number of parameters of `para`, by its function type (10.18)."""
_MAX_LIGHT = 4
"""The light of white is 1; a parametric curve that exceeds it by far is damage."""
_CICP_BYTES = 12
_MATRIX_TOLERANCE = 0.0015
_CURVE_TOLERANCE = 0.6 / 255
"""Profiles of a space differ by rounding, and by the number of samples of their curve. Within both tolerances, an 8-bit
value of a picture changes by at most 1."""


@dataclass(frozen=True)
class Space:
    """An RGB or gray color space that a matrix and curves describe."""

    matrix: Matrix
    """Linear RGB to XYZ relative to D50; of gray, that of sRGB."""
    curves: tuple[Curve, Curve, Curve]
    gray: bool = False

    def has_gamut(self, other: Space) -> bool:
        """Whether the primaries are those of the other space, except for rounding."""
        pairs = zip(chain(*self.matrix), chain(*other.matrix), strict=True)
        return all(abs(one - another) <= _MATRIX_TOLERANCE for one, another in pairs)

    @property
    def is_srgb(self) -> bool:
        """Whether values are those of sRGB, except for rounding. Gray has no primaries."""
        return self.has_srgb_curve and self.has_gamut(SRGB)

    @property
    def has_srgb_curve(self) -> bool:
        """Whether the curves are those of sRGB, which Display P3 shares, except for rounding."""
        return all(_is_srgb_curve(curve) for curve in set(self.curves))


def space(primaries: Primaries, curve: Curve) -> Space:
    """Return the space with these primaries and the same curve for each channel.

    Raises:
        ValueError: the primaries are of no color space.
    """
    return Space(gamut.rgb_to_xyz(primaries), (curve, curve, curve))


SRGB = space(gamut.SRGB, curves.SRGB)
DISPLAY_P3 = space(gamut.DISPLAY_P3, curves.SRGB)


@dataclass(frozen=True)
class Profile:
    """What the engine knows of an ICC profile."""

    space: Space | None
    """`None` if only libvips can convert by the profile."""
    code_points: CodePoints | None
    """Of the tag `cicp` (ICC.1:2022, 9.2.17), by which profiles of HDR state their transfer."""


@lru_cache(maxsize=8)
def read(profile: bytes) -> Profile:
    """Read a profile; damaged ones give no space."""
    tags = dict(_tags(profile))
    try:
        found = None if any(name in tags for name in _TABLES) else _space(profile, tags)
    except (ValueError, struct.error, IndexError, ZeroDivisionError, OverflowError):
        found = None
    return Profile(found, _code_points(tags))


def _tags(profile: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(profile) < _HEADER_BYTES + 4 or profile[36:40] != b"acsp":
        return
    count = min(int.from_bytes(profile[_HEADER_BYTES : _HEADER_BYTES + 4], "big"), _MAX_TAGS)
    table = profile[_HEADER_BYTES + 4 : _HEADER_BYTES + 4 + 12 * count]
    for name, offset, length in struct.iter_unpack(">4sII", table[: len(table) // 12 * 12]):
        yield name, profile[offset : offset + length]


def _space(profile: bytes, tags: dict[bytes, bytes]) -> Space | None:
    if profile[20:24] != b"XYZ ":
        return None
    if profile[16:20] == b"GRAY" and b"kTRC" in tags:
        curve = _curve(tags[b"kTRC"])
        return Space(SRGB.matrix, (curve, curve, curve), gray=True)
    if profile[16:20] != b"RGB " or not {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"} <= tags.keys():
        return None
    matrix = gamut.transposed((_xyz(tags[b"rXYZ"]), _xyz(tags[b"gXYZ"]), _xyz(tags[b"bXYZ"])))
    gamut.inverse(matrix)  # raises if the profile is damaged
    return Space(matrix, (_curve(tags[b"rTRC"]), _curve(tags[b"gTRC"]), _curve(tags[b"bTRC"])))


def _xyz(tag: bytes) -> Vector:
    if tag[:4] != b"XYZ ":
        raise ValueError("not an XYZ tag")
    x, y, z = struct.unpack_from(">iii", tag, 8)
    return x / 65536, y / 65536, z / 65536


@lru_cache(maxsize=8)
def _curve(tag: bytes) -> Curve:
    if tag[:4] not in {b"curv", b"para"}:
        raise ValueError("not a curve")
    curve = _sampled(tag) if tag[:4] == b"curv" else _parametric(tag)
    if isinstance(curve, Parametric) and (curve.g <= 0 or any(abs(curve(x)) > _MAX_LIGHT for x in (0, curve.d, 1))):
        raise ValueError("a curve that leaves the range of light")
    return curve


def _sampled(tag: bytes) -> Curve:
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return curves.LINEAR
    if count > _MAX_SAMPLES:
        raise ValueError("too many samples")
    samples = struct.unpack_from(f">{count}H", tag, 12)
    if count == 1:
        return Parametric(samples[0] / 256)
    return Sampled(tuple(sample / 65535 for sample in samples))


def _parametric(tag: bytes) -> Curve:
    (function,) = struct.unpack_from(">H", tag, 8)
    g, *rest = (value / 65536 for value in struct.unpack_from(f">{_PARAMETERS[function]}i", tag, 12))
    match function:
        case 0:
            return Parametric(g)
        case 1:  # (a·x + b)^g from -b/a on, 0 below
            a, b = rest
            return Parametric(g, a, b, 0, -b / a)
        case 2:  # as 1, plus c
            a, b, c = rest
            return Parametric(g, a, b, 0, -b / a, c, c)
        case _:  # 3: a b c d; 4: a b c d e f
            return Parametric(g, *rest)


def _code_points(tags: dict[bytes, bytes]) -> CodePoints | None:
    tag = tags.get(b"cicp", b"")
    known = tag[:4] == b"cicp" and len(tag) >= _CICP_BYTES
    return CodePoints(tag[8], tag[9], tag[10], bool(tag[11])) if known else None


@lru_cache(maxsize=8)
def _is_srgb_curve(curve: Curve) -> bool:
    points = (index / 32 for index in range(33))
    return all(abs(curves.encode_srgb(curve(point)) - point) <= _CURVE_TOLERANCE for point in points)


def write(primaries: Primaries, curve: Parametric, name: str) -> bytes:
    """Write a matrix profile of version 4, about 500 bytes long; the curve has no offsets `e` and `f`.

    Raises:
        ValueError: the primaries are of no color space.
    """
    matrix = gamut.transposed(gamut.rgb_to_xyz(primaries))
    tags = {
        b"desc": _text(name),
        b"cprt": _text("CC0"),
        b"wtpt": _xyz_tag(gamut.D50),
        b"chad": b"sf32" + bytes(4) + _fixed(*chain(*gamut.adaptation(primaries.white))),
        b"rXYZ": _xyz_tag(matrix[0]),
        b"gXYZ": _xyz_tag(matrix[1]),
        b"bXYZ": _xyz_tag(matrix[2]),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve_tag(curve)),
    }
    return _assembled(tags)


def _assembled(tags: dict[bytes, bytes]) -> bytes:
    """Join header, tag table and tags; equal tags share their data."""
    position, table, bodies = _HEADER_BYTES + 4 + 12 * len(tags), b"", dict[bytes, int]()
    for name, body in tags.items():
        if body not in bodies:
            bodies[body] = position
            position += len(body) + -len(body) % 4
        table += struct.pack(">4sII", name, bodies[body], len(body))
    data = b"".join(body + bytes(-len(body) % 4) for body in bodies)
    header = struct.pack(">I4sI4s4s4s", position, bytes(4), 0x04400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(*gamut.D50)
    return header.ljust(_HEADER_BYTES, b"\0") + struct.pack(">I", len(tags)) + table + data


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">III4sII", 0, 1, 12, b"enUS", len(encoded), 28) + encoded


def _xyz_tag(color: Vector) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*color)


def _curve_tag(curve: Parametric) -> bytes:
    return b"para" + struct.pack(">IHH", 0, 3, 0) + _fixed(curve.g, curve.a, curve.b, curve.c, curve.d)


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
