"""The fields of a background."""

from __future__ import annotations

from typing import Literal

from pixelflow.imaging.step import Step


class Background(Step):
    """Put the color ``background`` behind the transparent parts of an image, whatever the format of the output."""

    action: Literal["background"]
