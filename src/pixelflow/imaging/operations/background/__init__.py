"""Background: put a color behind transparent parts."""

from pixelflow.imaging.operation import Operation, any_reduction
from pixelflow.imaging.operations.background.model import Background

OPERATION = Operation(
    model=Background,
    summary="Put a color behind transparent parts",
    examples=(
        {"action": "background", "background": "#204060"},
        {"action": "background", "background": "#20406080"},
    ),
    since=2,
    before={"action": "round", "radius": "40%"},
    reduction=any_reduction,
)
