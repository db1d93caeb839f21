"""Tone mapping of PQ and HLG pictures to SDR."""

from __future__ import annotations

from array import array
from functools import cache

import pyvips

from pixelflow.imaging.colour import curves, tables
from pixelflow.imaging.colour.cicp import Hdr
from pixelflow.imaging.colour.icc import Space

_MAX_NITS, _STEPS = 4000, 4096
"""Light is tone mapped in steps of about 1 nit. Brighter light is rare, and is clipped."""
_HLG_GAMMA = 1.2
"""System gamma of HLG on a display of `curves.HDR_PEAK` nits (BT.2100, table 5)."""


def mapped(index: pyvips.Image, space: Space, transfer: Hdr, *, alpha: bool) -> pyvips.Image:
    """Return linear light of SDR, 0 to `tables.WHITE`, of the positions of HDR values (`tables.index`).

    The brightest channel is mapped, and the others in proportion, so that hues stay.
    """
    color = index[: index.bands - 1] if alpha else index
    nits = _nits(color, space, transfer)
    brightest = nits[0]
    for band in range(1, nits.bands):
        brightest = brightest.maxpair(nits[band])
    step = (brightest * (_STEPS / _MAX_NITS)).cast("ushort")
    light = nits * step.maplut(tables.table(_factors(), "f", 1, "float"))
    return light.bandjoin(index[index.bands - 1] * (tables.WHITE / (tables.steps(index) - 1))) if alpha else light


def _nits(color: pyvips.Image, space: Space, transfer: Hdr) -> pyvips.Image:
    values = color.maplut(tables.table(_decoded(transfer, tables.steps(color)), "f", 1, "float"))
    if transfer is Hdr.PQ:
        return values
    luminance = values if values.bands == 1 else values.recomb(pyvips.Image.new_from_array([list(space.matrix[1])]))
    return values * luminance ** (_HLG_GAMMA - 1) * curves.HDR_PEAK


@cache
def _decoded(transfer: Hdr, steps: int) -> bytes:
    decode = curves.pq_to_nits if transfer is Hdr.PQ else curves.hlg_to_scene
    return array("f", [decode(position / (steps - 1)) for position in range(steps)]).tobytes()


@cache
def _factors() -> bytes:
    """Return, for each step of light, the factor from nits to light of SDR."""
    nits = [(step + 0.5) * _MAX_NITS / _STEPS for step in range(_STEPS)]
    return array("f", [curves.tone_map(light) / light * tables.WHITE for light in nits]).tobytes()
