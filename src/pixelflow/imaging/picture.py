"""An image on its way to the form of every output: upright, in the color space of the step, 8 bits per channel.

A decoded source may be reduced, rotated as the camera stored it, and in its own color space. Rotation and conversion
wait until the image has been scaled down, where they cost a fraction. A picture must never be written before
``to_output_colorspace``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyvips

from pixelflow.imaging.alpha import in_light, premultiplied, straight, with_premultiplied_alpha
from pixelflow.imaging.colour import convert
from pixelflow.imaging.colour.convert import Target
from pixelflow.imaging.colour.tables import CHANNELS
from pixelflow.imaging.geometry import Size

_QUARTER_TURNED = 5
"""EXIF orientations from here on swap width and height (CIPA DC-008, tag 274)."""


@dataclass(frozen=True)
class Picture:
    """An image together with its nominal size."""

    image: pyvips.Image
    """Before ``to_output_colorspace``, also with premultiplied alpha (`alpha`)."""
    size: Size
    """Pixels, upright. A source reduced on decoding keeps its full nominal size until it is ``scaled``."""
    target: Target = convert.SRGB
    """The color space of ``to_output_colorspace``."""

    def materialized(self) -> Picture:
        """Compute the pixels now and keep them in memory, for repeated use or access in any order."""
        return replace(self, image=straight(self.image).copy_memory())

    def box_shrink(self, factor: int) -> Picture:
        """Reduce by averaging squares of ``factor`` × ``factor`` pixels; the nominal size stays."""
        return self if factor == 1 else replace(self, image=premultiplied(self.image).shrink(factor, factor))

    def scaled(self, size: Size, *, linear: bool, kernel: str = "lanczos3") -> Picture:
        """Scale to exactly ``size`` with a kernel of libvips, in linear light or in stored values."""
        width, height = stored_size(self.image, size)
        if (width, height) == (self.image.width, self.image.height):
            return replace(self, size=size)
        scale, vscale = width / self.image.width, height / self.image.height
        if linear:
            light = convert.to_light(straight(self.image), self.target)
            light = in_light(light, lambda image: image.resize(scale, vscale=vscale, kernel=kernel))
            return replace(self, image=convert.to_stored(light), size=size)
        image = with_premultiplied_alpha(self.image, lambda image: image.resize(scale, vscale=vscale, kernel=kernel))
        return replace(self, image=image, size=size)

    def to_output_colorspace(self, *, gray: bool = False) -> Picture:
        """Convert to RGB of ``target`` with 8 bits per channel and optional alpha, and rotate upright.

        With ``gray``, a gray picture stays so: for operations that work on any number of channels.
        """
        image = convert.to_target(straight(self.image), self.target)
        if image.bands < CHANNELS and not gray:
            image = image.colourspace("srgb")
        # Rotation reads rows out of order, which a streaming decoder can't deliver.
        return replace(self, image=image if orientation(image) == 1 else image.copy_memory().autorot())


def orientation(image: pyvips.Image) -> int:
    """Return the EXIF orientation, 1 to 8, where 1 is upright."""
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def upright_size(image: pyvips.Image) -> Size:
    """Return the size of the image after rotation upright."""
    return stored_size(image, Size(image.width, image.height))


def stored_size(image: pyvips.Image, upright: Size) -> Size:
    """Convert an upright size to the orientation in which the image is stored."""
    return upright if orientation(image) < _QUARTER_TURNED else Size(upright.height, upright.width)
