"""Sizes of a resize: integer arithmetic on pixels."""

from __future__ import annotations

from typing import NamedTuple

from pixelflow.imaging import faces
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.gravity import Fit, Interest
from pixelflow.imaging.operation import ROWS, Sizes
from pixelflow.imaging.operations.resize.model import Kernel, Resize, times

_CHANNELS = 4
_SMARTCROP_PICTURES = 3
_LINEAR_BYTES = 12
"""Per pixel of a row in linear light: three floats."""


class Fitted(NamedTuple):
    """The two stages of a resize: scale to ``scaled``, then crop or pad to ``canvas``."""

    scaled: Size
    canvas: Size


def fit(picture: Size, step: Resize) -> Fitted:
    """Compute the sizes that ``step`` makes of a picture.

    Without ``enlarge`` no side grows: `inside` and `outside` keep a smaller picture unchanged, `fill` keeps a side that
    is too short, `cover` crops to the largest box of the same ratio, `contain` pads to the box. If only width or height
    is given, the other side follows the aspect ratio and all fits are equivalent.
    """
    width, height = _times(step.width, step), _times(step.height, step)
    if width is not None and height is not None and step.fit not in {Fit.INSIDE, Fit.OUTSIDE}:
        return _fit_box(picture, Size(width, height), step)
    if width is not None and height is not None:
        scaled = _scaled(picture, Size(width, height), step.fit)
    else:
        scaled = picture if width == height else _with_one_side(picture, width, height)  # equal: neither is given
    scaled = _within_bounds(scaled, picture, step)
    scaled = scaled if step.enlarge else _no_larger(scaled, picture)
    return Fitted(scaled, scaled)


def _fit_box(picture: Size, box: Size, step: Resize) -> Fitted:
    if step.fit is Fit.COVER:
        box = box if step.enlarge else _of_same_ratio(box, picture)
        return Fitted(_scaled(picture, box, step.fit), box)
    scaled = _scaled(picture, box, step.fit)
    if not step.enlarge:
        scaled = _no_larger(scaled, picture) if step.fit is Fit.CONTAIN else _smaller_sides(scaled, picture)
    return Fitted(scaled, box if step.fit is Fit.CONTAIN else scaled)


def _of_same_ratio(box: Size, picture: Size) -> Size:
    """Reduce the box until the picture covers it."""
    if box.width <= picture.width and box.height <= picture.height:
        return box
    if box.width * picture.height > box.height * picture.width:
        return Size(picture.width, _proportion(box.height, picture.width, box.width))
    return Size(_proportion(box.width, picture.height, box.height), picture.height)


def _within_bounds(scaled: Size, picture: Size, step: Resize) -> Size:
    """Scale up to the least and then down to the largest sides, in the picture's aspect ratio."""
    for least, is_width in ((step.min_width, True), (step.min_height, False)):
        side = _times(least, step)
        if side is not None and (scaled.width if is_width else scaled.height) < side:
            scaled = _with_one_side(picture, *((side, None) if is_width else (None, side)))
    for largest, is_width in ((step.max_width, True), (step.max_height, False)):
        side = _times(largest, step)
        if side is not None and (scaled.width if is_width else scaled.height) > side:
            scaled = _with_one_side(picture, *((side, None) if is_width else (None, side)))
    return scaled


def _times(side: int | None, step: Resize) -> int | None:
    return None if side is None else times(side, step.dpr)


def sizes(size: Size, step: Resize) -> Sizes:
    """Return the sizes that the step makes of a picture of this size."""
    return Sizes(*fit(size, step))


def reduction(size: Size, step: Resize, _allowed: float) -> float:
    """Return the factor by which the step reduces a picture of this size, along the side that shrinks least."""
    if step.linear or step.kernel is Kernel.NEAREST:
        return 1  # decoders average pixels, in stored values and not in linear light
    scaled, _ = fit(size, step)
    factor = min(size.width / scaled.width, size.height / scaled.height)
    return min(factor, faces.reduction(size)) if finds_faces(size, step) else factor


def finds_faces(size: Size, step: Resize) -> bool:
    """Whether the step finds faces to crop to."""
    if not _can_find_faces(step):
        return False
    scaled, canvas = fit(size, step)
    return scaled != canvas


def requires(step: Resize) -> tuple[str, ...]:
    """Return the capability to find faces if the step can need it."""
    return (faces.EXTRA,) if _can_find_faces(step) else ()


def _can_find_faces(step: Resize) -> bool:
    return step.fit is Fit.COVER and faces.by_faces(step.gravity, step.focus)


def kept(size: Size, step: Resize) -> int:
    """Return the bytes of the scaled picture, which is in memory to be cropped; `smartcrop` needs it three times."""
    scaled, canvas = fit(size, step)
    if scaled == canvas:
        return 0
    by_smartcrop = not step.focus and step.gravity in {Interest.ATTENTION, Interest.ENTROPY}
    return scaled.pixels * _CHANNELS * (_SMARTCROP_PICTURES if by_smartcrop else 1)


def memory(size: Size, step: Resize) -> int:
    """Return the bytes of the rows that the step needs in linear light, and of what it keeps."""
    rows = size.width * ROWS * _LINEAR_BYTES if step.linear else 0
    return kept(size, step) + rows + (_faces_memory(size, step) if finds_faces(size, step) else 0)


def _faces_memory(size: Size, step: Resize) -> int:
    """Return the bytes of the input, which is in memory to be searched, and of `smartcrop` if no face is found.

    A decoder that reduces by powers of two makes up to twice the sides that suffice.
    """
    given = size.reduced(max(1, reduction(size, step, 1) / 2)).pixels
    more = fit(size, step).scaled.pixels * (_SMARTCROP_PICTURES - 1)
    return (given + more) * _CHANNELS + faces.memory(size)


def _with_one_side(picture: Size, width: int | None, height: int | None) -> Size:
    """Scale ``picture`` to the given side, keeping the aspect ratio."""
    if width is not None:
        return Size(width, _proportion(picture.height, width, picture.width))
    assert height is not None  # noqa: S101 - the model requires width or height
    return Size(_proportion(picture.width, height, picture.height), height)


def _scaled(picture: Size, box: Size, fit_: Fit) -> Size:
    if fit_ is Fit.FILL:
        return box
    by_width = _with_one_side(picture, box.width, None)
    by_height = _with_one_side(picture, None, box.height)
    wider = picture.width * box.height >= box.width * picture.height
    within = fit_ in {Fit.INSIDE, Fit.CONTAIN}
    return by_width if wider is within else by_height


def _no_larger(scaled: Size, picture: Size) -> Size:
    return picture if scaled.width > picture.width or scaled.height > picture.height else scaled


def _smaller_sides(one: Size, other: Size) -> Size:
    return Size(min(one.width, other.width), min(one.height, other.height))


def _proportion(side: int, numerator: int, denominator: int) -> int:
    """Return ``side`` × numerator ÷ denominator, rounded half up in integers, at least 1."""
    return max(1, (2 * side * numerator + denominator) // (2 * denominator))
