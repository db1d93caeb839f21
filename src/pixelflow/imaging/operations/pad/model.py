"""The fields of a pad."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.fields import Dimension, Length, Ratio, StrictModel, with_message
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.step import Step


class Extend(StrEnum):
    """What fills the space around an image."""

    COLOR = "color"
    COPY = "copy"
    MIRROR = "mirror"
    BLUR = "blur"


class Padding(StrictModel):
    """Space on each side: pixels, or a percentage of the image's shorter side."""

    top: Annotated[Length, Field(description="Space above the image.")] = 0
    right: Annotated[Length, Field(description="Space to the right of the image.")] = 0
    bottom: Annotated[Length, Field(description="Space below the image.")] = 0
    left: Annotated[Length, Field(description="Space to the left of the image.")] = 0


class Pad(Step):
    """Add space around an image."""

    action: Literal["pad"]
    padding: Annotated[
        Padding | Length | None,
        with_message('must be pixels (24), a percentage ("4%"), or an object with `top`, `right`, `bottom` and `left`'),
        Field(
            description="Space on all sides, in pixels or as a percentage of the image's shorter side; or an object "
            "with the space on each side.",
            examples=["10%", {"top": 40}],
        ),
    ] = None
    ratio: Annotated[
        Ratio | None,
        Field(
            description="Add as much space as the result needs to have this ratio of width to height.",
            examples=["1:1"],
        ),
    ] = None
    width: Annotated[
        Dimension | None, Field(description="Width of the result in pixels. A wider image keeps its width.")
    ] = None
    height: Annotated[
        Dimension | None, Field(description="Height of the result in pixels. A higher image keeps its height.")
    ] = None
    gravity: Annotated[Gravity, Field(description="Position of the image, with `ratio`, `width` or `height`.")] = (
        Gravity.CENTER
    )
    extend: Annotated[
        Extend,
        Field(
            description="What fills the space. `color`: the `background`. `copy`: the nearest pixel of the image. "
            "`mirror`: the mirrored image. `blur`: the image itself, enlarged and blurred."
        ),
    ] = Extend.COLOR

    @model_validator(mode="wrap")
    @classmethod
    def _check_space(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _space_errors)


def _space_errors(step: object) -> Iterator[CrossFieldError]:
    fields = fields_of(step)
    if fields is None:
        return
    given = [name for name in ("padding", "ratio", "width", "height") if fields.get(name) is not None]
    if not given:
        yield (), "needs `padding`, a `ratio`, a `width` or a `height`"
    for name in given[1:]:
        if (given[0], name) != ("width", "height"):
            yield (name,), f"can't be combined with `{given[0]}`"
