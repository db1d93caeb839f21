"""The fields of a blur."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.fields import Sigma
from pixelflow.imaging.step import Step


class Blur(Step):
    """Blur an image."""

    action: Literal["blur"]
    sigma: Annotated[
        Sigma,
        Field(
            description="Standard deviation of the Gaussian: pixels, or a percentage of the image's shorter side.",
            examples=[4],
        ),
    ] = "1%"
