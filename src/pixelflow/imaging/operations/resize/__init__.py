"""Resize: change the size of an image."""

from pixelflow.imaging.gravity import Fit, Interest
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.resize.geometry import kept, memory, reduction, requires, sizes
from pixelflow.imaging.operations.resize.model import Resize

OPERATION = Operation(
    model=Resize,
    summary="Change the size",
    examples=(
        {"action": "resize", "width": 320},
        {"action": "resize", "width": 200, "height": 200, "fit": "cover", "gravity": "attention"},
        {"action": "resize", "width": 200, "height": 200, "fit": "contain", "background": "#204060"},
        {"action": "resize", "width": 120, "linear": True},
        {"action": "resize", "width": 200, "height": 300, "fit": "cover", "focus": {"x": 0.3, "y": 0.7}},
        {"action": "resize", "width": 60, "dpr": 2, "max_height": 100, "kernel": "mitchell"},
    ),
    sizes=sizes,
    reduction=reduction,
    memory=memory,
    kept=kept,
    requires=requires,
    moves_only=lambda step: step.fit is not Fit.CONTAIN and not isinstance(step.gravity, Interest),
)
