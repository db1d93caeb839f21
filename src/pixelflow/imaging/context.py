"""What an operation may use beside its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixelflow.imaging.picture import Picture


@dataclass(frozen=True)
class Context:
    """The surroundings of one frame of a step."""

    max_pixels: int
    """Limit of width × height of every picture that the operation makes."""
    others: Mapping[str, Picture] = field(default_factory=dict)
    """Results of the other steps that it reads, by step id; of an animation, the frame at the same place."""
    assets: Mapping[str, Picture] = field(default_factory=dict)
    """Pictures of the assets that it reads, by name."""
    decision: Any = None
    """What the operation's ``decide`` returned for the first frame of an animation; None for a single picture."""
