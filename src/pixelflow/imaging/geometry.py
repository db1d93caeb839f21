"""Sizes and positions: integer arithmetic on pixels. Never processes an image."""

from __future__ import annotations

from typing import NamedTuple

from pixelflow.imaging.gravity import Fit, Gravity
from pixelflow.imaging.pipeline import Resize


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Width × height."""
        return self.width * self.height

    @property
    def shorter(self) -> int:
        """The shorter side."""
        return min(self)


class Fitted(NamedTuple):
    """The two stages of a resize: scale to ``scaled``, then crop or pad to ``canvas``."""

    scaled: Size
    canvas: Size


def fit(picture: Size, step: Resize) -> Fitted:
    """Compute the sizes that ``step`` makes of a picture.

    Without ``enlarge`` no side grows: `inside` and `outside` keep a smaller picture unchanged, `fill` keeps a side that
    is too short, `cover` crops only what exceeds the box, `contain` pads to the box. If only width or height is given,
    the other side follows the aspect ratio and all fits are equivalent.
    """
    if step.width is None or step.height is None:
        scaled = _with_one_side(picture, step.width, step.height)
        scaled = scaled if step.enlarge else _no_larger(scaled, picture)
        return Fitted(scaled, scaled)
    box = Size(step.width, step.height)
    scaled = _scaled(picture, box, step.fit)
    if not step.enlarge:
        scaled = _no_larger(scaled, picture) if step.fit is not Fit.FILL else _smaller_sides(scaled, picture)
    return Fitted(scaled, _canvas(scaled, box, step.fit))


def place(gravity: Gravity, outer: Size, inner: Size, margin: int = 0) -> tuple[int, int]:
    """Return left and top of ``inner`` in ``outer``, ``margin`` pixels from the edges that ``gravity`` names."""
    across, down = outer.width - inner.width, outer.height - inner.height
    return (
        _offset(across, margin, near="west" in gravity.value, far="east" in gravity.value),
        _offset(down, margin, near="north" in gravity.value, far="south" in gravity.value),
    )


def length(value: int | str, shorter: int) -> float:
    """Convert a length of ``imaging.pipeline`` (pixels, or percent of the shorter side) to pixels."""
    return float(value) if isinstance(value, int) else float(value.rstrip("%")) / 100 * shorter


def _offset(free: int, margin: int, *, near: bool, far: bool) -> int:
    if near:
        return margin
    return free - margin if far else free // 2


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


def _canvas(scaled: Size, box: Size, fit_: Fit) -> Size:
    if fit_ is Fit.CONTAIN:
        return box
    return _smaller_sides(scaled, box) if fit_ is Fit.COVER else scaled


def _no_larger(scaled: Size, picture: Size) -> Size:
    return picture if scaled.width > picture.width or scaled.height > picture.height else scaled


def _smaller_sides(one: Size, other: Size) -> Size:
    return Size(min(one.width, other.width), min(one.height, other.height))


def _proportion(side: int, numerator: int, denominator: int) -> int:
    """Return ``side`` × numerator ÷ denominator, rounded half up in integers, at least 1."""
    return max(1, (2 * side * numerator + denominator) // (2 * denominator))
