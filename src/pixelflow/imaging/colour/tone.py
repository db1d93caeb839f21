"""Tone mapping of PQ and HLG pictures to SDR."""

from __future__ import annotations

from array import array
from functools import cache

import pyvips

from pixelflow.imaging.colour import curves, tables
from pixelflow.imaging.colour.cicp import Hdr
from pixelflow.imaging.colour.icc import Space

_MAX_NITS, _STEPS, _WIDE_STEPS = 4000, 4096, 65_536
"""Light is tone mapped in steps of about 1 nit; of 1/16, if the result has 16 bits. Brighter light is rare, and is
clipped."""
_HLG_GAMMA = 1.2
"""System gamma of HLG on a display of `curves.HDR_PEAK` nits (BT.2100, table 5)."""


def mapped(index: tables.Index, space: Space, transfer: Hdr, *, alpha: bool, wide: bool) -> pyvips.Image:
    """Return linear light of SDR, 0 to `tables.WHITE`, of the positions of HDR values (`tables.index`).

    The brightest channel is mapped, and the others in proportion, so that hues stay.
    """
    positions, steps = index
    color = positions[: positions.bands - 1] if alpha else positions
    nits = _nits(tables.Index(color, steps), space, transfer)
    brightest = nits[0]
    for band in range(1, nits.bands):
        brightest = brightest.maxpair(nits[band])
    light_steps = _WIDE_STEPS if wide else _STEPS
    step = (brightest * (light_steps / _MAX_NITS)).cast("ushort")
    light = nits * step.maplut(tables.table(_factors(light_steps), "f", 1, "float"))
    return light.bandjoin(positions[positions.bands - 1] * (tables.WHITE / (steps - 1))) if alpha else light


def _nits(color: tables.Index, space: Space, transfer: Hdr) -> pyvips.Image:
    values = color.positions.maplut(tables.table(_decoded(transfer, color.steps), "f", 1, "float"))
    if transfer is Hdr.PQ:
        return values
    luminance = values if values.bands == 1 else values.recomb(pyvips.Image.new_from_array([list(space.matrix[1])]))
    return values * luminance ** (_HLG_GAMMA - 1) * curves.HDR_PEAK


@cache
def _decoded(transfer: Hdr, steps: int) -> bytes:
    decode = curves.pq_to_nits if transfer is Hdr.PQ else curves.hlg_to_scene
    return array("f", [decode(position / (steps - 1)) for position in range(steps)]).tobytes()


@cache
def _factors(steps: int) -> bytes:
    """Return, for each step of light, the factor from nits to light of SDR."""
    nits = [(step + 0.5) * _MAX_NITS / steps for step in range(steps)]
    return array("f", [curves.tone_map(light) / light * tables.WHITE for light in nits]).tobytes()
