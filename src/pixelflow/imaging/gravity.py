"""How an image fits into a box, and positions in an image. Names only: the arithmetic is in ``imaging``."""

from __future__ import annotations

from enum import StrEnum


class Fit(StrEnum):
    """How to fit an image into a box of ``width`` × ``height``: CSS ``object-fit``, plus ``inside`` and ``outside``."""

    INSIDE = "inside"
    """The largest size that fits in the box. Keeps the aspect ratio."""
    OUTSIDE = "outside"
    """The smallest size that covers the box. Keeps the aspect ratio."""
    COVER = "cover"
    """Fill the box and crop the rest; ``gravity`` selects the part to keep."""
    CONTAIN = "contain"
    """Fit in the box and pad the rest with ``background``."""
    FILL = "fill"
    """Stretch to the box. Changes the aspect ratio."""


class Gravity(StrEnum):
    """A position in an image, by compass point."""

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
    """A position in an image, by content."""

    ATTENTION = "attention"
    """The region that is most likely to draw the eye: edges, saturated colors, skin tones."""
    ENTROPY = "entropy"
    """The region with the highest Shannon entropy."""
    FACES = "faces"
    """The faces of people, as many as fit. Needs the extra `faces`."""
