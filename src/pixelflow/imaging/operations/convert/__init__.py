"""Convert: change nothing but the file."""

from pixelflow.imaging.operation import Operation, any_reduction
from pixelflow.imaging.operations.convert.model import Convert

OPERATION = Operation(
    model=Convert,
    since=2,
    summary="Change the format or the quality, and nothing else",
    examples=({"action": "convert", "format": "avif", "quality": 60}, {"action": "convert"}),
    reduction=any_reduction,
    moves_only=lambda _step: True,
)
