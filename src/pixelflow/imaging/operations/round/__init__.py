"""Round: round the corners of an image."""

from pixelflow.imaging.operation import Operation, any_reduction
from pixelflow.imaging.operations.round.model import Round

OPERATION = Operation(
    model=Round,
    since=2,
    summary="Round the corners",
    examples=(
        {"action": "round", "radius": "20%"},
        {"action": "round", "radius": "50%"},
        {"action": "round", "radius": {"top_left": 40, "bottom_right": "50%"}},
    ),
    reduction=any_reduction,
    adds_alpha=True,
)
