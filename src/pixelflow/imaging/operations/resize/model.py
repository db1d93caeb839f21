"""The fields of a resize."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.fields import MAX_DIMENSION, Dimension, Flag, FocalPoint, with_message
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS
from pixelflow.imaging.geometry import round_half_up
from pixelflow.imaging.gravity import Fit, Gravity, Interest
from pixelflow.imaging.step import Step

_BOUND = "Keeps the aspect ratio; for `inside` and `outside`."
_SIDES = ("width", "height")
_BOUNDS = ("min_width", "min_height", "max_width", "max_height")


class Kernel(StrEnum):
    """How pixels of the result are computed from those of the input."""

    NEAREST = "nearest"
    LINEAR = "linear"
    CUBIC = "cubic"
    MITCHELL = "mitchell"
    LANCZOS2 = "lanczos2"
    LANCZOS3 = "lanczos3"


class Resize(Step):
    """Change the size of an image."""

    fields_since: ClassVar[Mapping[str, int]] = dict.fromkeys(
        ("focus", "dpr", "min_width", "min_height", "max_width", "max_height", "kernel"), 2
    )
    action: Literal["resize"]
    width: Annotated[Dimension | None, Field(description="Width in pixels.")] = None
    height: Annotated[Dimension | None, Field(description="Height in pixels.")] = None
    fit: Annotated[
        Fit,
        Field(
            description="How to fit the image into the box of `width` × `height`. `inside`: largest size that fits in "
            "the box. `outside`: smallest size that covers the box. `cover`: fill the box and crop the rest. "
            "`contain`: fit in the box and pad the rest. `fill`: stretch to the box. If only one of `width` and "
            "`height` is set, the other follows from the aspect ratio and `fit` is ignored."
        ),
    ] = Fit.INSIDE
    gravity: Annotated[
        Gravity | Interest,
        with_message(f"must be {', '.join(f'`{name}`' for name in Gravity)}, `attention`, `entropy` or `faces`"),
        Field(description="The part of the image that `cover` keeps, and where `contain` places the image."),
    ] = Gravity.CENTER
    focus: Annotated[
        FocalPoint | None,
        Field(
            description="Focal point that `cover` keeps as close to the center as possible. Replaces `gravity`.",
            examples=[{"x": 0.3, "y": 0.7}],
        ),
    ] = None
    enlarge: Annotated[
        Flag,
        Field(
            description="Whether the image may become larger than the input. If `false`, an image smaller than the box "
            "keeps its size. `cover` then crops to the largest box of the same ratio, `fill` reduces a side that is "
            "too long, and `contain` pads."
        ),
    ] = False
    dpr: Annotated[
        float,
        Field(
            strict=True,
            ge=0.1,
            le=5,
            allow_inf_nan=False,
            description="Device pixel ratio. Multiplies `width`, `height` and the bounds.",
        ),
    ] = 1
    min_width: Annotated[Dimension | None, Field(description=f"Least width of the result. {_BOUND}")] = None
    min_height: Annotated[Dimension | None, Field(description=f"Least height of the result. {_BOUND}")] = None
    max_width: Annotated[Dimension | None, Field(description=f"Largest width of the result. {_BOUND}")] = None
    max_height: Annotated[Dimension | None, Field(description=f"Largest height of the result. {_BOUND}")] = None
    kernel: Annotated[
        Kernel,
        Field(
            description="Interpolation. `lanczos3` is the sharpest, `mitchell` and `linear` are softer, `nearest` "
            "keeps the hard pixels of pixel art."
        ),
    ] = Kernel.LANCZOS3
    linear: Annotated[
        Flag,
        Field(
            description="Resize in linear light. Renders fine bright detail more accurately and takes 3 to 6 times "
            "the CPU. Off by default, as in most image services."
        ),
    ] = False

    @model_validator(mode="wrap")
    @classmethod
    def _check_size(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _size_errors)


def times(side: int, dpr: float) -> int:
    """Multiply a side by the device pixel ratio, rounded half up, at least 1."""
    return side if dpr == 1 else max(1, round_half_up(side * Fraction(str(dpr))))


def _size_errors(step: object) -> Iterator[CrossFieldError]:
    fields = fields_of(step)
    if fields is None:
        return
    given = {name: side for name in (*_SIDES, *_BOUNDS) if (side := fields.get(name)) is not None}
    if not given:
        yield (), "needs `width`, `height` or both, or a bound such as `max_width`"
    if fields.get("focus") is not None and fields.get("gravity") not in (None, Gravity.CENTER):
        yield ("focus",), "can't be combined with `gravity`"
    if fields.get("gravity") in [*Interest] and not (fields.get("fit") == Fit.COVER and {*_SIDES} <= given.keys()):
        yield ("gravity",), 'needs `"fit": "cover"`, `width` and `height`: only then a part of the image is chosen'
    yield from _bound_errors(fields, given)
    yield from _limit_errors(fields, given)


def _bound_errors(fields: Mapping[str, object], given: Mapping[str, object]) -> Iterator[CrossFieldError]:
    boxed = all(name in given for name in _SIDES) and fields.get("fit") in (Fit.COVER, Fit.CONTAIN, Fit.FILL)
    for name in _BOUNDS if boxed else ():
        if name in given:
            yield (name,), "needs the fit `inside` or `outside`: the box determines the size"
    for side in _SIDES:
        least, largest = given.get(f"min_{side}"), given.get(f"max_{side}")
        if isinstance(least, int) and isinstance(largest, int) and least > largest:
            yield (f"min_{side}",), f"must be at most `max_{side}`"


def _limit_errors(fields: Mapping[str, object], given: Mapping[str, object]) -> Iterator[CrossFieldError]:
    dpr = fields.get("dpr")
    factor = float(dpr) if isinstance(dpr, int | float) and 0.1 <= dpr <= 5 else 1.0  # noqa: PLR2004 - of the field
    sides = {name: side for name, side in given.items() if isinstance(side, int) and 1 <= side <= MAX_DIMENSION}
    for name, side in sides.items():
        if times(side, factor) > MAX_DIMENSION:
            yield (name,), f"must be at most {MAX_DIMENSION}, multiplied by `dpr`"
    format_ = OUTPUT_FORMATS.get(str(fields.get("format")))
    known = _known_sides(fields, {name: times(side, factor) for name, side in sides.items() if name in _SIDES})
    for name, side in known.items() if format_ else ():
        if format_ and format_.max_side < side <= MAX_DIMENSION:
            yield (name,), f"must be at most {format_.max_side} (the limit of {format_.label})"


def _known_sides(step: Mapping[str, object], sides: dict[str, int]) -> dict[str, int]:
    """The sides of the output that do not depend on the image."""
    enlarged = step.get("enlarge") is True
    if any(step.get(name) is not None for name in _BOUNDS):
        return {}
    if len(sides) == 1:
        return sides if enlarged else {}
    padded, filled = step.get("fit") == Fit.CONTAIN, step.get("fit") in (Fit.COVER, Fit.FILL)
    return sides if padded or (filled and enlarged) else {}
