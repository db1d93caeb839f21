"""How a picture meets a box, and where in a picture something stands. Words only; the arithmetic is in ``imaging``."""

from __future__ import annotations

from enum import StrEnum


class Fit(StrEnum):
    """How a picture meets a box of ``width`` × ``height``: CSS ``object-fit``, plus ``inside`` and ``outside``."""

    INSIDE = "inside"
    """As large as possible within the box; the aspect ratio stays."""
    OUTSIDE = "outside"
    """As small as possible around the box; the aspect ratio stays."""
    COVER = "cover"
    """Fills the box; what stands out is cut off, as ``gravity`` says."""
    CONTAIN = "contain"
    """Inside the box, the rest padded with ``background``."""
    FILL = "fill"
    """Exactly the box; the aspect ratio changes."""


class Gravity(StrEnum):
    """A place in a picture by compass point."""

    CENTER = "center"
    NORTH = "north"
    NORTHEAST = "northeast"
    EAST = "east"
    SOUTHEAST = "southeast"
    SOUTH = "south"
    SOUTHWEST = "southwest"
    WEST = "west"
    NORTHWEST = "northwest"


class Interest(StrEnum):
    """A place in a picture by what is to be seen there."""

    ATTENTION = "attention"
    ENTROPY = "entropy"
