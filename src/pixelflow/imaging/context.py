"""What an operation may use beside its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pixelflow.imaging.picture import Picture
from pixelflow.imaging.placement import ImageReference
from pixelflow.imaging.protocol import TransformWarning


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
    warn: Callable[[TransformWarning], None] = lambda _warning: None
    """Reports to the owner of the job what the step did otherwise than it was asked to. Equal warnings count once."""

    def referenced(self, image: ImageReference, picture: Picture) -> Picture:
        """Return the picture that a step names; ``picture`` is the input of the step."""
        if image.asset is not None:
            return replace(self.assets[image.asset], target=picture.target)
        assert image.step is not None  # noqa: S101 - the model requires one of them
        return self.others.get(image.step, picture)
