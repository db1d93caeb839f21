"""Tint: replace colors by a scale of colors from dark to light."""

from pixelflow.imaging.operation import Operation, any_reduction
from pixelflow.imaging.operations.tint.model import Tint

OPERATION = Operation(
    model=Tint,
    summary="Color the image by its brightness: tints and duotones",
    examples=(
        {"action": "tint", "shadows": "#1b1464", "highlights": "#ffd166"},
        {"action": "tint", "midtones": "#8a6642"},
        {"action": "tint", "shadows": "#003300", "amount": 0.4},
    ),
    since=2,
    reduction=any_reduction,
)
