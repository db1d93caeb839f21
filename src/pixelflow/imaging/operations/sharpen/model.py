"""The fields of a sharpening."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.fields import Sigma
from pixelflow.imaging.step import Step


class Sharpen(Step):
    """Sharpen the edges of an image."""

    action: Literal["sharpen"]
    sigma: Annotated[
        Sigma,
        Field(
            description="Width of the edges: the standard deviation of a Gaussian, in pixels or as a percentage of the "
            "image's shorter side."
        ),
    ] = 0.8
    amount: Annotated[
        float,
        Field(
            strict=True,
            gt=0,
            le=10,
            allow_inf_nan=False,
            description="Factor of the difference between the image and its blurred copy, which is added to it.",
        ),
    ] = 1
