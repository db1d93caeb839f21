"""An image on its way to the form of every output: upright, sRGB, 8 bits per channel.

A decoded source may be reduced, rotated as the camera stored it, and in its own color space. Rotation and conversion
wait until the image has been scaled down, where they cost a fraction. A picture must never be written before
``to_output_colorspace``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyvips

from pixelflow.imaging.colour import convert
from pixelflow.imaging.colour.tables import WHITE
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.resampling import LANCZOS, Extent, averaged, resample

_QUARTER_TURNED = 5
"""EXIF orientations from here on swap width and height (CIPA DC-008, tag 274)."""


@dataclass(frozen=True)
class Picture:
    """An image together with its nominal size."""

    image: pyvips.Image
    size: Size
    """Pixels, upright. A source reduced on decoding keeps its full nominal size until it is ``scaled``."""
    extent: Extent | None = None
    """What the picture covers of ``image``, if not all: a reduction may end within a pixel."""

    def with_image(self, image: pyvips.Image) -> Picture:
        """Return a picture of the same nominal size with other pixels, as many. Nothing else of this one is in it."""
        return Picture(image, self.size, self.extent)

    def materialized(self) -> Picture:
        """Compute the pixels now and keep them in memory, for repeated use or access in any order."""
        return self.with_image(self.image.copy_memory())

    def box_shrink(self, factor: int) -> Picture:
        """Reduce by averaging squares of ``factor`` × ``factor`` pixels; the nominal size stays."""
        if factor == 1:
            return self
        width, height = self.covered
        shrunk = with_premultiplied_alpha(self.image, lambda image: averaged(image, factor))
        return Picture(shrunk, self.size, (width / factor, height / factor))

    def scaled(self, size: Size, *, linear: bool, kernel: str = LANCZOS) -> Picture:
        """Scale to exactly ``size`` with a kernel of libvips, in linear light or in stored values."""
        image, extent, stored = self.image, self.covered, stored_size(self.image, size)
        if stored == extent:
            return Picture(image, size)
        if not linear:
            return Picture(with_premultiplied_alpha(image, lambda each: resample(each, extent, stored, kernel)), size)
        light = convert.to_light(image, convert.SRGB)
        premultiplied = light.premultiply(max_alpha=WHITE) if light.hasalpha() else light
        scaled = resample(premultiplied, extent, stored, kernel)
        return Picture(convert.to_stored(scaled.unpremultiply(max_alpha=WHITE) if light.hasalpha() else scaled), size)

    @property
    def covered(self) -> Extent:
        """Width and height that the picture covers, in pixels of ``image``."""
        return self.extent or (self.image.width, self.image.height)

    def to_output_colorspace(self) -> Picture:
        """Convert to sRGB with 8 bits per channel and optional alpha, and rotate upright."""
        image = in_srgb(self.image)
        if orientation(image) == 1:
            return self.with_image(image)
        # Rotation reads rows out of order, which a streaming decoder can't deliver.
        return Picture(image.copy_memory().autorot(), self.size)


def orientation(image: pyvips.Image) -> int:
    """Return the EXIF orientation, 1 to 8, where 1 is upright."""
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def upright_size(image: pyvips.Image) -> Size:
    """Return the size of the image after rotation upright."""
    return stored_size(image, Size(image.width, image.height))


def stored_size(image: pyvips.Image, upright: Size) -> Size:
    """Convert an upright size to the orientation in which the image is stored."""
    return upright if orientation(image) < _QUARTER_TURNED else Size(upright.height, upright.width)


def in_srgb(image: pyvips.Image) -> pyvips.Image:
    """Convert to 8-bit sRGB with optional alpha."""
    image = convert.to_target(image, convert.SRGB)
    return image if image.interpretation == "srgb" else image.colourspace("srgb")


def with_premultiplied_alpha(image: pyvips.Image, operation: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    """Apply ``operation`` with premultiplied alpha, so that colors of transparent pixels do not bleed into edges."""
    if not image.hasalpha():
        return operation(image)
    return rounded(operation(image.premultiply()).unpremultiply(), image.format)


def rounded(image: pyvips.Image, format_: str) -> pyvips.Image:
    """Round floats to integers of the format. A cast alone would make every picture darker by half a level."""
    if format_ == "uchar":
        return image.linear(1, 0.5, uchar=True)
    return image.cast(format_) if format_ in {"float", "double"} else image.rint().cast(format_)


def with_alpha(image: pyvips.Image) -> pyvips.Image:
    """Add an opaque alpha channel if there is none."""
    return image if image.hasalpha() else image.addalpha()
