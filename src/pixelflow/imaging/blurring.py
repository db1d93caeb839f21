"""Gaussian blur at a cost that does not grow with its strength."""

from __future__ import annotations

from math import sqrt

import pyvips

from pixelflow.imaging.alpha import rounded, with_premultiplied_alpha
from pixelflow.imaging.geometry import Size, blur_reduction

_BOX_VARIANCE, _TENT_VARIANCE = 1 / 12, 1 / 6
"""Variance that averaging by squares and bilinear enlarging add, in squared pixels of the reduced image."""
_MIN_AMPLITUDE = 0.01
"""Weight at which the kernel of the blur ends, relative to its middle."""


def blur(image: pyvips.Image, sigma: float) -> pyvips.Image:
    """Blur an image with a standard deviation of ``sigma`` pixels; transparent pixels don't color others."""
    blurred = with_premultiplied_alpha(image, lambda premultiplied: blur_channels(premultiplied, sigma))
    return blurred if image.hasalpha() else rounded(blurred, image.format).copy(interpretation=image.interpretation)


def blur_channels(image: pyvips.Image, sigma: float) -> pyvips.Image:
    """Blur each channel on its own, to floats.

    It reads the image before it returns if ``sigma`` is over `geometry.FULL_SIGMA`.
    """
    factor = min(blur_reduction(sigma), max(image.width, image.height))
    if factor == 1:
        return _gaussian(image, sigma)
    across, down = -(-image.width // factor), -(-image.height // factor)
    whole = image.embed(0, 0, across * factor, down * factor, extend="copy")
    reduced = whole.shrink(factor, factor).cast("float")
    blurred = _gaussian(reduced, sqrt((sigma / factor) ** 2 - _BOX_VARIANCE - _TENT_VARIANCE)).copy_memory()
    return enlarged(blurred, Size(factor, factor), Size(image.width, image.height))


def enlarged(image: pyvips.Image, factor: Size, size: Size) -> pyvips.Image:
    """Interpolate between pixels that are the means of cells: each stands for the middle of its cell."""
    return image.affine(
        [factor.width, 0, 0, factor.height],
        interpolate=pyvips.Interpolate.new("bilinear"),
        odx=(factor.width - 1) / 2,
        ody=(factor.height - 1) / 2,
        oarea=[0, 0, *size],
        extend="copy",
        premultiplied=True,
    )


def _gaussian(image: pyvips.Image, sigma: float) -> pyvips.Image:
    # Not with a kernel of integers, which takes a tenth of the time: libvips approximates it for 8-bit values, and a
    # flat 200 becomes 204.
    return image.gaussblur(sigma, precision="float", min_ampl=_MIN_AMPLITUDE)
