"""Redact: make regions unrecognizable."""

from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.redact.geometry import memory
from pixelflow.imaging.operations.redact.model import Redact

OPERATION = Operation(
    model=Redact,
    summary="Make regions unrecognizable, irreversibly",
    examples=(
        {
            "action": "redact",
            "method": "pixels",
            "regions": [{"x": "27%", "y": "15%", "width": "20%", "height": "55%"}],
        },
        {
            "action": "redact",
            "method": "blur",
            "regions": [
                {"x": 4, "y": 4, "width": "50%", "height": "50%"},
                {"x": "50%", "y": "50%", "width": 30, "height": 30},
            ],
        },
        {"action": "redact", "fill": "#204060", "regions": [{"x": "60%", "y": 0, "width": "100%", "height": "30%"}]},
    ),
    since=2,
    hides=True,
    memory=memory,
    kept=memory,
)
