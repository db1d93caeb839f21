"""What a step's ``action`` does.

A new operation is a module of its own, one entry here, and its model in ``contracts.pipeline``. Nothing else in the
engine may ever know an action by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pixelflow.dataplane.imaging.geometry import Size
from pixelflow.dataplane.imaging.picture import Picture
from pixelflow.dataplane.imaging.resize import reduction, resize
from pixelflow.dataplane.imaging.watermark import watermark


class Operation(NamedTuple):
    """One kind of step."""

    apply: Callable[[Picture, Any, int], Picture]
    """(picture, step, most pixels that a picture may have) → a settled picture."""
    reduction: Callable[[Size, Any], float]
    """(size of the picture it gets, step) → how many times smaller it makes it; 1 for all that works on every pixel."""


def _none(_size: Size, _step: object) -> float:
    return 1


OPERATIONS: dict[str, Operation] = {
    "resize": Operation(resize, reduction),
    "watermark": Operation(watermark, _none),
}
