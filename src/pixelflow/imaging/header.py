"""What the header of a source says."""

from __future__ import annotations

from dataclasses import dataclass

from pixelflow.imaging.geometry import Size


@dataclass(frozen=True)
class Header:
    """What the header of a file says. No pixel is decoded for it."""

    size: Size
    """Of a frame in pixels, upright."""
    frames: int = 1
    """Frames or pages in the file."""
    bytes_per_pixel: int = 4
    """Of the decoded image."""
    wide: bool = False
    """Whether channels have more than 8 bits."""
    whole: bool = False
    """Whether the decoder keeps the whole picture, as for a progressive JPEG or an interlaced PNG."""
    regions: bool = False
    """Whether the decoder makes any part of the picture alone, as of a tiled TIFF."""
    turned: bool = False
    """Whether the picture is stored in another orientation than upright."""
