"""Where and how large one picture is drawn over another. Never processes an image."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, radians, sin
from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.fields import StepId, StrictModel
from pixelflow.imaging.geometry import Size, length

MAX_MARGIN = 0.25
"""Maximum margin as a fraction of the shorter side, so that space remains."""


class ImageReference(StrictModel):
    """A picture to draw: the result of an earlier step, or an asset."""

    step: Annotated[StepId | None, Field(description="The id of an earlier step, or `source`.", examples=["logo"])] = (
        None
    )
    asset: Annotated[
        StepId | None,
        Field(description="The name or ID of an asset that you uploaded. Its first frame is drawn."),
    ] = None

    @model_validator(mode="wrap")
    @classmethod
    def _check_reference(
        cls,
        value: Any,  # noqa: ANN401 - any input
        handler: ModelWrapValidatorHandler[Self],
    ) -> Self:
        return validate(value, handler, _reference_errors)


def _reference_errors(reference: object) -> Iterator[CrossFieldError]:
    fields = fields_of(reference)
    if fields is not None and (fields.get("step") is None) == (fields.get("asset") is None):
        yield (), "needs exactly one of `step` and `asset`"


def margin_of(value: int | str, canvas: Size) -> int:
    """Return a margin in pixels, limited to `MAX_MARGIN`."""
    return min(round(length(value, canvas.shorter)), int(canvas.shorter * MAX_MARGIN))


def within(canvas: Size, margin: int) -> Size:
    """Return the size of the canvas without margins."""
    return Size(max(1, canvas.width - 2 * margin), max(1, canvas.height - 2 * margin))


def rotated_size(width: float, height: float, degrees: float) -> tuple[float, float]:
    """Return the bounding box of a rotated box."""
    across, along = abs(cos(radians(degrees))), abs(sin(radians(degrees)))
    return width * across + height * along, width * along + height * across


def drawn_size(
    original: Size, canvas: Size, width: int | str | None, height: int | str | None, *, rotation: float, limit: Size
) -> Size:
    """Return the size at which a picture is drawn, before it is rotated; the aspect ratio is kept.

    Args:
        original: its own size, which it keeps if neither side is given.
        canvas: size of what it is drawn on.
        width: pixels, or a percentage of the width of the canvas.
        height: pixels, or a percentage of the height of the canvas.
        rotation: degrees.
        limit: what it must fit after rotation; it is reduced if it does not.
    """
    scales = [
        length(wanted, whole) / own
        for wanted, whole, own in zip((width, height), canvas, original, strict=True)
        if wanted is not None
    ]
    scale = min(scales, default=1.0)
    box = rotated_size(original.width * scale, original.height * scale, rotation)
    scale *= min(1.0, limit.width / box[0], limit.height / box[1])
    most_sides = limit if rotation % 180 == 0 else (max(limit),) * 2
    return Size(*(max(1, min(round(own * scale), most)) for own, most in zip(original, most_sides, strict=True)))
