"""The fields of an adjustment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.fields import Degrees
from pixelflow.imaging.step import Step

Factor = Annotated[float, Field(strict=True, ge=0, le=10, allow_inf_nan=False)]
"""1 changes nothing."""
Gamma = Annotated[float, Field(strict=True, ge=0.1, le=10, allow_inf_nan=False)]
_ADJUSTMENTS = ("brightness", "contrast", "saturation", "hue", "gamma")


class Adjust(Step):
    """Change the tones and colors of an image."""

    action: Literal["adjust"]
    brightness: Annotated[
        Factor, Field(description="Factor of all channels: 0 is black, 1 changes nothing, 2 is twice as bright.")
    ] = 1
    contrast: Annotated[
        Factor, Field(description="Factor of the distance to medium gray: 0 is gray, 1 changes nothing.")
    ] = 1
    saturation: Annotated[
        Factor, Field(description="Factor of the distance to gray of the same luma: 0 is gray, 1 changes nothing.")
    ] = 1
    hue: Annotated[Degrees, Field(description="Rotation of the hue in degrees. 0 changes nothing.")] = 0
    gamma: Annotated[Gamma, Field(description="Over 1: lighter midtones; below 1: darker. 1 changes nothing.")] = 1

    @model_validator(mode="wrap")
    @classmethod
    def _check_adjustments(
        cls,
        value: Any,  # noqa: ANN401 - any input
        handler: ModelWrapValidatorHandler[Self],
    ) -> Self:
        return validate(value, handler, _adjustment_errors)


def _adjustment_errors(step: object) -> Iterator[CrossFieldError]:
    fields = step.model_fields_set if isinstance(step, Adjust) else fields_of(step)
    if fields is not None and not any(name in fields for name in _ADJUSTMENTS):
        yield (), "needs at least one of `brightness`, `contrast`, `saturation`, `hue` and `gamma`"
