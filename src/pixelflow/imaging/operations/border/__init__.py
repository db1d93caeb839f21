"""Border: draw a frame around an image."""

from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.border.geometry import reduction, sizes
from pixelflow.imaging.operations.border.model import Border

OPERATION = Operation(
    model=Border,
    since=2,
    summary="Draw a frame",
    examples=(
        {"action": "border", "width": 12, "color": "#d9a441", "radius": "15%"},
        {"action": "border", "width": "2%", "color": "#ffffff"},
        {"action": "border", "width": 8, "color": "#ff880080", "position": "inside"},
        {"action": "border", "width": "5%", "color": "black", "position": "inside", "radius": "50%"},
    ),
    sizes=sizes,
    reduction=reduction,
    adds_alpha=True,
)
