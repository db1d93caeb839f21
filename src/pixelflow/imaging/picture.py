"""An image on its way to the form of every output: upright, in the color space of the step, 8 or 16 bits per channel.

A decoded source may be reduced, rotated as the camera stored it, and in its own color space. Rotation and conversion
wait until the image has been scaled down, where they cost a fraction. A picture must never be written before
``to_output_colorspace``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyvips

from pixelflow.imaging.alpha import in_light, is_opaque, premultiplied, straight, with_premultiplied_alpha
from pixelflow.imaging.colour import convert
from pixelflow.imaging.colour.convert import ColorTarget
from pixelflow.imaging.colour.tables import CHANNELS
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.resampling import LANCZOS, averaged, resample
from pixelflow.imaging.thumbnails import Extent

_LEAST_PROBED = 250_000
"""Pixels from which scaling with alpha in floats costs more than the extra reading of a header (1 ms)."""
_QUARTER_TURNED = 5
"""EXIF orientations from here on swap width and height (CIPA DC-008, tag 274)."""


@dataclass(frozen=True)
class Picture:
    """An image together with its nominal size."""

    image: pyvips.Image
    """Before ``to_output_colorspace``, also with premultiplied alpha (`alpha`)."""
    size: Size
    """Pixels, upright. A source reduced on decoding keeps its full nominal size until it is ``scaled``."""
    extent: Extent | None = None
    """What the picture covers of ``image``, if not all: a reduction may end within a pixel."""
    target: ColorTarget = convert.SRGB
    """The color space of ``to_output_colorspace``."""
    regions: bool = False
    """Whether any part of ``image`` can be computed alone: what a crop leaves out is not decoded."""
    again: Callable[[], pyvips.Image] | None = None
    """Opens a stream once more, after which the earlier image must be used no more. None: ``image`` is no stream."""

    def with_image(self, image: pyvips.Image) -> Picture:
        """Return a picture of the same nominal size with other pixels, as many. Nothing else of this one is in it."""
        return Picture(image, self.size, self.extent, self.target)

    def with_size(self, image: pyvips.Image, size: Size) -> Picture:
        """Return a picture of another nominal size, all of which ``image`` shows."""
        return Picture(image, size, target=self.target)

    def near(self, _size: Size) -> Picture:
        """Return the picture with as many of its own pixels as ``size`` needs: all, unless it is drawn on demand."""
        return self

    def materialized(self) -> Picture:
        """Compute the pixels now and keep them in memory, for repeated use or access in any order."""
        return self.with_image(straight(self.image).copy_memory())

    def rereadable(self) -> Picture:
        """Return a picture whose pixels can be read several times: in memory."""
        return self.materialized()

    def box_shrink(self, factor: int) -> Picture:
        """Reduce by averaging squares of ``factor`` × ``factor`` pixels; the nominal size stays."""
        if factor == 1:
            return self
        width, height = self.covered
        shrunk = averaged(premultiplied(self.image), factor)
        return Picture(shrunk, self.size, (width / factor, height / factor), self.target)

    def scaled(self, size: Size, *, linear: bool, kernel: str = LANCZOS) -> Picture:
        """Scale to exactly ``size`` with a kernel of libvips, in linear light or in stored values."""
        extent, stored = self.covered, stored_size(self.image, size)
        if stored == extent:
            return self.with_size(self.image, size)
        if linear:
            light = convert.to_light(straight(self.image), self.target)
            made = convert.to_stored(in_light(light, lambda each: resample(each, extent, stored, kernel)), self.target)
        else:
            made = self._resampled(extent, stored, kernel)
        return self.with_size(made, size)

    def _resampled(self, extent: Extent, size: Size, kernel: str) -> pyvips.Image:
        """Scale; of a stream with alpha, first as if it were opaque, as many are.

        Floats, which premultiplied alpha needs, take several times the CPU of 8-bit values: libvips has no vector code
        for them. PNG with alpha of 2 and 9 MP to a JPEG of 640 px, CPU against floats at once: 0.23 (a screenshot) to
        0.59 if it is opaque; 1.0 to 1.06 if its first row is not; 1.5 if only a later one is not: it is decoded twice.
        """
        image = self.image
        if self.again and _is_slow_with_alpha(image):
            if is_opaque(image.crop(0, 0, image.width, 1)):
                made = resample(self.again(), extent, size, kernel).copy_memory()
                if is_opaque(made):
                    return made
            image = self.again()
        if not (image.hasalpha() or self.target.wide):
            return resample(image, extent, size, kernel)
        return with_premultiplied_alpha(image, lambda each: resample(each, extent, size, kernel))

    def aligned(self) -> Picture:
        """Return a picture that covers all of its image, for operations that count from the right or lower edge.

        That edge moves by at most half of a reduced pixel.
        """
        width, height = (max(1, round(side)) for side in self.covered)
        if (width, height) == (self.image.width, self.image.height):
            return self.with_size(self.image, self.size)
        return self.with_size(self.image.crop(0, 0, width, height), self.size)

    @property
    def covered(self) -> Extent:
        """Width and height that the picture covers, in pixels of ``image``."""
        return self.extent or (self.image.width, self.image.height)

    def to_output_colorspace(self, *, gray: bool = False) -> Picture:
        """Convert to RGB of ``target`` with optional alpha, and rotate upright.

        Channels have 8 bits; if the target is wide and the picture has 16, so has the result.

        With ``gray``, a gray picture stays so: for operations that work on any number of channels.
        """
        picture = self if orientation(self.image) == 1 else self.aligned()
        image = convert.to_target(straight(picture.image), self.target)
        if image.bands < CHANNELS and not gray:
            image = image.colourspace("rgb16" if image.format == "ushort" else "srgb")
        if orientation(image) == 1:
            return self.with_image(image)
        # Rotation reads rows out of order, which a streaming decoder can't deliver.
        return self.with_size(image.copy_memory().autorot(), self.size)


def _is_slow_with_alpha(image: pyvips.Image) -> bool:
    return bool(image.hasalpha() and image.format == "uchar" and image.width * image.height >= _LEAST_PROBED)


def orientation(image: pyvips.Image) -> int:
    """Return the EXIF orientation, 1 to 8, where 1 is upright."""
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def upright_size(image: pyvips.Image) -> Size:
    """Return the size of the image after rotation upright."""
    return stored_size(image, Size(image.width, image.height))


def stored_size(image: pyvips.Image, upright: Size) -> Size:
    """Convert an upright size to the orientation in which the image is stored."""
    return upright if orientation(image) < _QUARTER_TURNED else Size(upright.height, upright.width)
