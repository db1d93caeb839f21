"""Flip: mirror an image."""

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operation import Operation, any_reduction
from pixelflow.imaging.operations.flip.model import Direction, Flip

_CHANNELS = 4


def _memory(size: Size, step: Flip) -> int:
    """The rows of a stream come from the top; the picture is kept to begin at the bottom."""
    return 0 if step.direction is Direction.HORIZONTAL else size.pixels * _CHANNELS


OPERATION = Operation(
    model=Flip,
    since=2,
    summary="Mirror the image",
    examples=(
        {"action": "flip", "direction": "horizontal"},
        {"action": "flip", "direction": "vertical"},
        {"action": "flip", "direction": "both"},
    ),
    reduction=any_reduction,
    memory=_memory,
    moves_only=lambda _step: True,
)
