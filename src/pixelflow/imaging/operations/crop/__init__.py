"""Crop: keep a part of an image."""

from pixelflow.imaging.gravity import Interest
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.crop.geometry import memory, reduction, requires, sizes
from pixelflow.imaging.operations.crop.model import Crop

OPERATION = Operation(
    model=Crop,
    since=2,
    summary="Keep a part of the image",
    examples=(
        {"action": "crop", "ratio": "1:1", "focus": {"x": 0.38, "y": 0.4}},
        {"action": "crop", "x": "10%", "y": "20%", "width": "50%", "height": 12},
        {"action": "crop", "width": 30, "height": 20, "gravity": "southeast"},
        {"action": "crop", "ratio": 0.8, "gravity": "attention"},
        {"action": "crop", "width": "40%", "gravity": "entropy"},
    ),
    sizes=sizes,
    reduction=reduction,
    memory=memory,
    requires=requires,
    moves_only=lambda step: not isinstance(step.gravity, Interest),
)
