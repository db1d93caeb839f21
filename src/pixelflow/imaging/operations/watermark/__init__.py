"""Watermark: draw a text over an image."""

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.watermark.model import Watermark

_BYTES_PER_PIXEL = 6
_TILE_BYTES_PER_PIXEL = 16


def _memory(size: Size, step: Watermark) -> int:
    return size.pixels * (_TILE_BYTES_PER_PIXEL if step.watermark.tile else _BYTES_PER_PIXEL)


OPERATION = Operation(
    model=Watermark,
    summary="Draw a text over the image",
    examples=(
        {"action": "watermark", "watermark": {"text": "© Acme"}},
        {"action": "watermark", "watermark": {"text": "PROOF", "tile": True, "rotation": -30, "bold": True}},
    ),
    memory=_memory,
)
