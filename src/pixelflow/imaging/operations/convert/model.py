"""The fields of a conversion: those of every step."""

from __future__ import annotations

from typing import Literal

from pixelflow.imaging.step import Step


class Convert(Step):
    """Change the format or the quality, and nothing else."""

    action: Literal["convert"]
