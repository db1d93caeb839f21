"""Adjust: change brightness, contrast, saturation, hue and gamma."""

from pixelflow.imaging.operation import Operation, any_reduction
from pixelflow.imaging.operations.adjust.model import Adjust

OPERATION = Operation(
    model=Adjust,
    summary="Change brightness, contrast, saturation, hue and gamma",
    examples=(
        {"action": "adjust", "brightness": 1.1, "contrast": 1.2, "saturation": 1.5},
        {"action": "adjust", "hue": 90},
        {"action": "adjust", "gamma": 1.6, "contrast": 0.8},
    ),
    since=2,
    reduction=any_reduction,
)
