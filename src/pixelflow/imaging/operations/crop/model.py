"""The fields of a crop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.fields import Coordinate, Extent, FocalPoint, Ratio, with_message
from pixelflow.imaging.gravity import Gravity, Interest
from pixelflow.imaging.step import Step


class Crop(Step):
    """Keep a part of an image."""

    action: Literal["crop"]
    x: Annotated[
        Coordinate | None,
        Field(description="Left edge of the part: pixels, or a percentage of the image's width.", examples=["10%"]),
    ] = None
    y: Annotated[
        Coordinate | None,
        Field(description="Top edge of the part: pixels, or a percentage of the image's height.", examples=[24]),
    ] = None
    width: Annotated[
        Extent | None,
        Field(
            description="Width of the part: pixels, or a percentage of the image's width. Default: up to the right "
            "edge.",
            examples=["50%"],
        ),
    ] = None
    height: Annotated[
        Extent | None,
        Field(
            description="Height of the part: pixels, or a percentage of the image's height. Default: down to the "
            "bottom edge.",
            examples=[240],
        ),
    ] = None
    ratio: Annotated[
        Ratio | None,
        Field(
            description="Keep the largest part of this ratio of width to height, instead of `width` and `height`.",
            examples=["16:9"],
        ),
    ] = None
    gravity: Annotated[
        Gravity | Interest,
        with_message(f"must be {', '.join(f'`{name}`' for name in Gravity)}, `attention`, `entropy` or `faces`"),
        Field(description="Position of the part in the image, if neither `x` nor `y` is set."),
    ] = Gravity.CENTER
    focus: Annotated[
        FocalPoint | None,
        Field(
            description="Focal point that is kept as close to the center as possible. Replaces `gravity`.",
            examples=[{"x": 0.3, "y": 0.7}],
        ),
    ] = None

    @model_validator(mode="wrap")
    @classmethod
    def _check_part(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _part_errors)


def _part_errors(step: object) -> Iterator[CrossFieldError]:
    fields = fields_of(step)
    if fields is None:
        return
    given = {name for name in ("x", "y", "width", "height", "ratio", "focus") if fields.get(name) is not None}
    if fields.get("gravity") not in (None, Gravity.CENTER):
        given.add("gravity")
    if not given - {"gravity", "focus"}:
        yield (), "needs a size: `width`, `height` or `ratio`; or a position: `x` or `y`"
    for name, others in (
        ("ratio", ("width", "height", "x", "y")),
        ("gravity", ("x", "y")),
        ("focus", ("x", "y", "gravity")),
    ):
        other = next((each for each in others if each in given), None)
        if name in given and other:
            yield (name,), f"can't be combined with `{other}`"
