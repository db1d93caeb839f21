"""The fields of a flip."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from pixelflow.imaging.step import Step


class Direction(StrEnum):
    """Along which axes an image is mirrored."""

    HORIZONTAL = "horizontal"
    VERTICAL = "vertical"
    BOTH = "both"


class Flip(Step):
    """Mirror an image."""

    action: Literal["flip"]
    direction: Annotated[
        Direction,
        Field(
            description="`horizontal` exchanges left and right, `vertical` exchanges top and bottom, `both` does both: "
            "a rotation by 180°."
        ),
    ] = Direction.HORIZONTAL
