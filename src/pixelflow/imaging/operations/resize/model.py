"""The fields of a resize."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.fields import MAX_DIMENSION, Dimension, Flag, with_message
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS
from pixelflow.imaging.gravity import Fit, Gravity, Interest
from pixelflow.imaging.step import Step


class Resize(Step):
    """Change the size of an image."""

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
        with_message(f"must be {', '.join(f'`{name}`' for name in Gravity)}, `attention` or `entropy`"),
        Field(description="The part of the image that `cover` keeps, and where `contain` places the image."),
    ] = Gravity.CENTER
    enlarge: Annotated[
        Flag,
        Field(
            description="Whether the image may become larger than the input. If `false`, an image smaller than the box "
            "keeps its size; `cover` and `fill` still reduce a side that is too long, and `contain` still pads."
        ),
    ] = False
    linear: Annotated[
        Flag,
        Field(
            description="Resize in linear light. Renders fine bright detail more accurately and takes several times "
            "the CPU. Off by default, as in most image services."
        ),
    ] = False

    @model_validator(mode="wrap")
    @classmethod
    def _check_size(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _size_errors)


def _size_errors(step: object) -> Iterator[CrossFieldError]:
    fields = fields_of(step)
    if fields is None:
        return
    if fields.get("width") is None and fields.get("height") is None:
        yield (), "needs a width, a height or both"
    format_ = OUTPUT_FORMATS.get(str(fields.get("format")))
    for name, side in _known_sides(fields).items() if format_ else ():
        if format_ and format_.max_side < side <= MAX_DIMENSION:
            yield (name,), f"must be at most {format_.max_side} (the limit of {format_.label})"


def _known_sides(step: Mapping[str, object]) -> dict[str, int]:
    """The sides of the output that do not depend on the image."""
    sides = {name: side for name in ("width", "height") if isinstance(side := step.get(name), int)}
    enlarged = step.get("enlarge") is True
    if len(sides) == 1:
        return sides if enlarged else {}
    padded, filled = step.get("fit") == Fit.CONTAIN, step.get("fit") in (Fit.COVER, Fit.FILL)
    return sides if padded or (filled and enlarged) else {}
