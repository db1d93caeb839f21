"""Color chunks of PNG: `cICP`, `sRGB`, `gAMA` and `cHRM` (PNG, third edition, 11.3.2). libvips reads only `iCCP`."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from pixelflow.imaging.colour import curves, gamut
from pixelflow.imaging.colour.cicp import CodePoints, StatedColor, stated_color
from pixelflow.imaging.colour.curves import Parametric
from pixelflow.imaging.colour.gamut import Chromaticity, Primaries

_LENGTHS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
_PIXELS = (b"IDAT", b"IEND")
"""Color chunks come before these."""
_MAX_CHUNKS = 200
_SRGB_GAMMA, _GAMMA_TOLERANCE = 0.45455, 0.005
"""Writers state 1 / 2.2 for sRGB (11.3.2.5); other values between 0.45 and 0.46 are rounding."""
_GAMMAS = (0.1, 10)
"""Values of `gAMA` outside these are damage."""
_RGB = 0
"""The only matrix of code points that PNG allows."""


def color_of_png(descriptor: int, *, has_profile: bool) -> StatedColor | None:
    """Return the color space that the chunks state, or `None` if it is that of the profile, or not stated.

    The order of precedence is `cICP`, profile (`iCCP`), `sRGB`, `gAMA` with `cHRM`.
    """
    chunks = read_chunks(descriptor, _LENGTHS)
    if (cicp := chunks.get(b"cICP")) and cicp[2] == _RGB:
        return stated_color(CodePoints(cicp[0], cicp[1], cicp[2], bool(cicp[3])))
    if has_profile or b"sRGB" in chunks:
        return None
    return _by_gamma(chunks)


def _by_gamma(chunks: Mapping[bytes, bytes]) -> StatedColor | None:
    if b"gAMA" not in chunks:
        return None
    gamma = int.from_bytes(chunks[b"gAMA"], "big") / 100_000
    if not _GAMMAS[0] <= gamma <= _GAMMAS[1]:
        return None
    is_srgb = abs(gamma - _SRGB_GAMMA) <= _GAMMA_TOLERANCE
    return StatedColor(_primaries(chunks), curves.SRGB if is_srgb else Parametric(1 / gamma))


def _primaries(chunks: Mapping[bytes, bytes]) -> Primaries:
    """Return the primaries of `cHRM`, or sRGB's if there are none or they are damaged."""
    if b"cHRM" not in chunks:
        return gamut.SRGB
    values = [value / 100_000 for value in struct.unpack(">8I", chunks[b"cHRM"])]
    white, red, green, blue = (Chromaticity(x, y) for x, y in zip(values[::2], values[1::2], strict=True))
    primaries = Primaries(red, green, blue, white)
    try:
        gamut.inverse(gamut.rgb_to_xyz(primaries))
    except (ValueError, ZeroDivisionError):
        return gamut.SRGB
    return primaries


def read_chunks(descriptor: int, lengths: Mapping[bytes, int]) -> dict[bytes, bytes]:
    """Return the chunks of these lengths before the pixels, the first of each kind. Others are skipped unread."""
    found: dict[bytes, bytes] = {}
    position = 8
    for _ in range(_MAX_CHUNKS):
        head = os.pread(descriptor, 8 + max(lengths.values()), position)
        kind, length = head[4:8], int.from_bytes(head[:4], "big")
        if len(head) < 8 or kind in _PIXELS:  # noqa: PLR2004 - length and type
            break
        if lengths.get(kind) == length and len(head) >= 8 + length:
            found.setdefault(kind, head[8 : 8 + length])
        position += 12 + length
    return found
