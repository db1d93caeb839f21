"""Grayscale: remove the colors."""

from pixelflow.imaging.operation import Operation, any_reduction
from pixelflow.imaging.operations.grayscale.model import Grayscale

OPERATION = Operation(
    model=Grayscale,
    summary="Remove the colors",
    examples=({"action": "grayscale"},),
    since=2,
    reduction=any_reduction,
)
