"""Gradient: draw a linear gradient over an image."""

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operation import Operation, any_reduction
from pixelflow.imaging.operations.gradient.model import Gradient

_BYTES = 4


def _memory(size: Size, step: Gradient) -> int:
    return size.pixels * _BYTES if step.angle % 180 else 0


OPERATION = Operation(
    model=Gradient,
    summary="Draw a linear gradient over the image",
    examples=(
        {"action": "gradient", "stops": [{"color": "#00000000", "at": "40%"}, {"color": "#000000c0"}]},
        {"action": "gradient", "angle": 90, "stops": [{"color": "#ff0080a0"}, {"color": "#0080ffa0"}]},
        {
            "action": "gradient",
            "angle": 30,
            "blend": "screen",
            "stops": [{"color": "#ff0000"}, {"color": "#00ff0000", "at": "30%"}, {"color": "#0000ff"}],
        },
    ),
    since=2,
    memory=_memory,
    reduction=any_reduction,
)
