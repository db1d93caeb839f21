"""Pad: add space around an image."""

from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.pad.geometry import memory, reduction, sizes
from pixelflow.imaging.operations.pad.model import Pad

OPERATION = Operation(
    model=Pad,
    since=2,
    summary="Add space around the image",
    examples=(
        {"action": "pad", "ratio": "1:1", "extend": "blur"},
        {"action": "pad", "padding": {"top": 10, "right": "5%", "bottom": 40, "left": "5%"}, "background": "#fff8e0"},
        {"action": "pad", "padding": "10%", "background": "#00000000"},
        {"action": "pad", "width": 300, "height": 200, "gravity": "northwest", "extend": "copy"},
        {"action": "pad", "padding": 24, "extend": "mirror"},
    ),
    sizes=sizes,
    reduction=reduction,
    memory=memory,
    adds_alpha=True,
)
