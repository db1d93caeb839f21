"""Transparency: operations on premultiplied colors, and flattening, without systematic errors.

libvips cuts off fractions when it casts floats to integers, which would darken whatever is translucent; all functions
here round.
"""

from __future__ import annotations

from collections.abc import Callable

import pyvips

from pixelflow.imaging.colour.tables import CHANNELS, WHITE

_STRAIGHT_FORMAT = "pixelflow-straight-format"
"""Metadata of an image with premultiplied alpha: the format of its values when it is straight again."""

_OPAQUE = 255


def with_premultiplied_alpha(image: pyvips.Image, operation: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    """Apply ``operation`` with premultiplied alpha, so that colors of transparent pixels do not bleed into edges.

    It gets 16-bit values as floats even without alpha: for integers, the coefficients of libvips have 12 bits.
    """
    if image.format == "ushort" and not image.hasalpha():
        return rounded(operation(image.cast("float")), image.format)
    return straight(operation(premultiplied(image)))


def in_light(light: pyvips.Image, operation: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    """Apply ``operation`` with premultiplied alpha to linear light (`convert.to_light`)."""
    if not light.hasalpha():
        return operation(light)
    return operation(light.premultiply(max_alpha=WHITE)).unpremultiply(max_alpha=WHITE)


def premultiplied(image: pyvips.Image) -> pyvips.Image:
    """Multiply colors by alpha, if there is alpha; the result has floats."""
    if not image.hasalpha() or image.get_typeof(_STRAIGHT_FORMAT):
        return image
    result = image.premultiply().copy()
    result.set_type(pyvips.GValue.gstr_type, _STRAIGHT_FORMAT, image.format)
    return result


def is_opaque(image: pyvips.Image) -> bool:
    """Whether every pixel of an 8-bit image with alpha is opaque. Reads the image.

    Of an image that was scaled by a kernel, each value of alpha is a weighted mean. If they all are 255 after rounding,
    what is translucent in the source changes no color of the result by more than half a level.
    """
    return bool(image.extract_band(image.bands - 1).min() == _OPAQUE)


def straight(image: pyvips.Image) -> pyvips.Image:
    """Divide colors by alpha, if they are premultiplied."""
    if not image.get_typeof(_STRAIGHT_FORMAT):
        return image
    result = rounded(image.unpremultiply(), image.get(_STRAIGHT_FORMAT)).copy()
    result.remove(_STRAIGHT_FORMAT)
    return result


def flattened(image: pyvips.Image, background: tuple[int, ...]) -> pyvips.Image:
    """Composite an 8-bit image with alpha over a color. The result has no alpha; a gray one gets colors if it must."""
    if image.bands < CHANNELS and len(set(background)) > 1:
        image = image.colourspace("srgb")
    color = [float(value) for value in background[: image.bands - 1]]
    return rounded(image.cast("float").flatten(background=color), "uchar")


def rounded(image: pyvips.Image, format_: str) -> pyvips.Image:
    """Round floats to integers of the format. A cast alone would make every picture darker by half a level.

    `linear` can round to 8 bits at once, but takes several times the CPU of these two.
    """
    return image.cast(format_) if format_ in {"float", "double"} else image.rint().cast(format_)


def with_alpha(image: pyvips.Image) -> pyvips.Image:
    """Add an opaque alpha channel if there is none."""
    return image if image.hasalpha() else image.addalpha()
