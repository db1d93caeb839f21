"""Rotate: turn an image by any angle."""

from pixelflow.imaging.operation import Operation, any_reduction
from pixelflow.imaging.operations.rotate.geometry import memory, sizes
from pixelflow.imaging.operations.rotate.model import Canvas, Rotate

OPERATION = Operation(
    model=Rotate,
    since=2,
    summary="Turn the image by any angle",
    examples=(
        {"action": "rotate", "angle": 12, "background": "#00000000"},
        {"action": "rotate", "angle": -7.5, "canvas": "inner"},
        {"action": "rotate", "angle": 90},
        {"action": "rotate", "angle": 200, "canvas": "keep", "background": "#20406080"},
    ),
    sizes=sizes,
    reduction=any_reduction,
    memory=memory,
    adds_alpha=True,
    moves_only=lambda step: step.angle % 90 == 0 and step.canvas is not Canvas.KEEP,
)
