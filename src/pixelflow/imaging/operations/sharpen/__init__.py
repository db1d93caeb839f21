"""Sharpen: raise the contrast of edges."""

from pixelflow.imaging.geometry import Size, blur_reduction, length
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.sharpen.model import Sharpen

_BYTES = 4
_REDUCED_BYTES = 8
"""Per pixel of the reduced luma and alpha: two floats."""


def _memory(size: Size, step: Sharpen) -> int:
    factor = blur_reduction(length(step.sigma, size.shorter))
    return size.pixels * _BYTES + size.pixels * _REDUCED_BYTES // factor**2 if factor > 1 else 0


OPERATION = Operation(
    model=Sharpen,
    summary="Sharpen edges",
    examples=({"action": "sharpen", "sigma": 1, "amount": 1.5}, {"action": "sharpen", "sigma": "5%", "amount": 0.5}),
    since=2,
    memory=_memory,
    kept=_memory,
)
