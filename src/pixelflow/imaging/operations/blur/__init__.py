"""Blur: soften an image."""

from pixelflow.imaging.geometry import Size, blur_reduction, length
from pixelflow.imaging.operation import Operation, any_reduction
from pixelflow.imaging.operations.blur.model import Blur

_REDUCED_BYTES = 16
"""Per pixel of the reduced image: four floats."""


def _memory(size: Size, step: Blur) -> int:
    factor = blur_reduction(length(step.sigma, size.shorter))
    return size.pixels * _REDUCED_BYTES // factor**2 if factor > 1 else 0


OPERATION = Operation(
    model=Blur,
    summary="Blur",
    examples=({"action": "blur", "sigma": "2%"}, {"action": "blur", "sigma": 1.5}, {"action": "blur", "sigma": 60}),
    since=2,
    memory=_memory,
    kept=_memory,
    reduction=any_reduction,
)
