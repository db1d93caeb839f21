"""Pixelate: replace squares of pixels by their mean color."""

from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.pixelate.model import Pixelate

OPERATION = Operation(
    model=Pixelate,
    summary="Replace squares by their mean color",
    examples=({"action": "pixelate", "size": "4%"}, {"action": "pixelate", "size": 7}),
    since=2,
)
