"""Pixels on their way to what every output is: upright, sRGB, 8 bits.

A source may still be smaller than what it stands for, lie as the camera stored it, and be in its own colours:
turning and converting wait until it has been made smaller, where they cost a fraction. It must never be written before
it is ``settled``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pyvips

from pixelflow.dataplane.imaging.geometry import Size

_PROFILE = "icc-profile-data"
_QUARTER_TURNED = 5
"""EXIF orientations from here on swap width and height (CIPA DC-008, tag 274)."""


@dataclass(frozen=True)
class Picture:
    """A picture and the size it stands for."""

    image: pyvips.Image
    size: Size
    """Pixels, the right way up. A source decoded smaller than it is stands for its full size until it is ``scaled``."""

    def held(self) -> Picture:
        """The same, computed now and kept in memory, to be used more than once or in any order."""
        return replace(self, image=self.image.copy_memory())

    def boxed(self, times: int) -> Picture:
        """Averaged over squares of ``times`` pixels; stands for the size it stood for."""
        return (
            self if times == 1 else replace(self, image=_weighed(self.image, lambda image: image.shrink(times, times)))
        )

    def scaled(self, size: Size, *, linear: bool) -> Picture:
        """Made exactly ``size`` with a Lanczos kernel, in linear light or as it is stored."""
        width, height = stored_size(self.image, size)
        if (width, height) == (self.image.width, self.image.height):
            return replace(self, size=size)
        image = in_srgb(self.image).colourspace("scrgb") if linear else self.image
        scale, vscale = width / image.width, height / image.height
        image = _weighed(image, lambda weighed: weighed.resize(scale, vscale=vscale))
        return Picture(image.colourspace("srgb") if linear else image, size)

    def settled(self) -> Picture:
        """Upright, in sRGB with 8 bits a channel and maybe alpha."""
        image = in_srgb(self.image)
        # Turning reads rows out of order, which a decoder can't do.
        return replace(self, image=image if orientation(image) == 1 else image.copy_memory().autorot())


def orientation(image: pyvips.Image) -> int:
    """How the camera was held: EXIF's 1 to 8, where 1 is upright."""
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def upright_size(image: pyvips.Image) -> Size:
    """Pixels, once the image is turned the right way up."""
    return stored_size(image, Size(image.width, image.height))


def stored_size(image: pyvips.Image, upright: Size) -> Size:
    """What a size means as long as the image lies as the camera stored it."""
    return upright if orientation(image) < _QUARTER_TURNED else Size(upright.height, upright.width)


def in_srgb(image: pyvips.Image) -> pyvips.Image:
    """``image`` in sRGB, 8 bits, three channels and maybe alpha; CMYK without a profile by libvips' built-in one."""
    if image.get_typeof(_PROFILE):
        image = _without_profile(_by_profile(image))
    if image.interpretation != "srgb":
        image = image.colourspace("srgb")
    return image if image.format == "uchar" else image.cast("uchar")


def _by_profile(image: pyvips.Image) -> pyvips.Image:
    """Colours as the embedded profile means them; a profile that can't be read means nothing."""
    try:
        return image.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True, depth=8)
    except pyvips.Error:
        return image


def _without_profile(image: pyvips.Image) -> pyvips.Image:
    image = image.copy()
    image.remove(_PROFILE)
    return image


def _weighed(image: pyvips.Image, change: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    """``image`` changed, colours weighed by alpha: those under transparent pixels must not bleed into the edges."""
    if not image.hasalpha():
        return change(image)
    return change(image.premultiply().cast(image.format)).unpremultiply().cast(image.format)
