"""The registry of operations by a step's ``action``.

To add an operation, write its module, add an entry here, and add its model to ``imaging.pipeline``. No other module
of the engine may refer to an action by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pixelflow.imaging.geometry import Fitted, Size, fit
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.resize import reduction, resize
from pixelflow.imaging.watermark import watermark


class Operation(NamedTuple):
    """The implementation of one action."""

    apply: Callable[[Picture, Any, int], Picture]
    """(picture, step, maximum pixels of a picture) → a picture in the output color space."""
    reduction: Callable[[Size, Any], float]
    """(size of the input, step) → factor by which the step reduces it; 1 for operations that need every pixel."""
    sizes: Callable[[Size, Any], Fitted]
    """(size of the input, step) → sizes of the scaled picture and of the result."""


def _no_reduction(_size: Size, _step: object) -> float:
    return 1


def _same_size(size: Size, _step: object) -> Fitted:
    return Fitted(size, size)


OPERATIONS: dict[str, Operation] = {
    "resize": Operation(resize, reduction, fit),
    "watermark": Operation(watermark, _no_reduction, _same_size),
}
