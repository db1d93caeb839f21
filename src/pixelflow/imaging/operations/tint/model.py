"""The fields of a tint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.fields import Opacity, OpaqueColor
from pixelflow.imaging.step import Step


class Tint(Step):
    """Color an image by its brightness."""

    action: Literal["tint"]
    shadows: Annotated[OpaqueColor | None, Field(description="Color of black. Default: black.")] = None
    midtones: Annotated[
        OpaqueColor | None,
        Field(description="Color of medium gray. Default: the mean of `shadows` and `highlights`."),
    ] = None
    highlights: Annotated[OpaqueColor | None, Field(description="Color of white. Default: white.")] = None
    amount: Annotated[
        Opacity, Field(description="Share of the tint in the result. 1 leaves nothing of the original colors.")
    ] = 1

    @model_validator(mode="wrap")
    @classmethod
    def _check_colors(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _color_errors)


def _color_errors(step: object) -> Iterator[CrossFieldError]:
    fields = fields_of(step)
    if fields is not None and all(fields.get(name) is None for name in ("shadows", "midtones", "highlights")):
        yield (), "needs at least one of `shadows`, `midtones` and `highlights`"
