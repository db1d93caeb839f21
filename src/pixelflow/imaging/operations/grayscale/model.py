"""The fields of a grayscale."""

from __future__ import annotations

from typing import Literal

from pixelflow.imaging.step import Step


class Grayscale(Step):
    """Remove the colors of an image."""

    action: Literal["grayscale"]
