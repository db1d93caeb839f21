"""Trim: remove a border of one color."""

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.trim.model import Trim

_CHANNELS = 4


def _memory(size: Size, _step: Trim) -> int:
    """The picture is read twice: to find the border, and to cut it off."""
    return size.pixels * _CHANNELS


OPERATION = Operation(
    model=Trim,
    since=2,
    summary="Remove a border of one color",
    examples=(
        {"action": "trim", "padding": 8},
        {"action": "trim", "color": "#5a6a30", "threshold": 40, "padding": "5%"},
    ),
    before={"action": "pad", "padding": {"top": 20, "right": 60, "bottom": 40, "left": 30}, "background": "#ddccbb"},
    memory=_memory,
)
