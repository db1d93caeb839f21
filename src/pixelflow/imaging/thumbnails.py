"""Scales 8-bit pixels to a small size by Pillow, whose kernel ends at the edge of the picture.

libvips repeats the pixels at the edge beyond it: a thin line there is off by up to 20 of 255 levels if the result has
100 to 150 pixels, and by 13 here. 16 photos of 1 to 24 MP, JPEG and PNG, to 120 and 160 pixels: 1.00 and 1.02 times
the CPU of libvips on average.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, pi, sin
from typing import TypeAlias

import pyvips
from PIL import Image

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.sampling import box_factor

Extent: TypeAlias = tuple[float, float]
"""Width and height that a picture covers, from the upper left corner of an image, in pixels of the image."""

_MAX_SIDE = 256
"""Larger results cost Pillow more than libvips, and a pixel at the edge is a smaller part of them."""
_MODES = {1: "L", 2: "La", 3: "RGB", 4: "RGBa"}
"""Of Pillow, by channels. That of two or four only names them: it neither multiplies nor divides by the last one."""
_LANCZOS = Image.Resampling.LANCZOS
_LOBES = 3
"""Of the Lanczos kernel: pixels of the result that it reaches, to either side."""
_PARTS = 8
"""Values of the kernel in each pixel, of which Pillow takes one."""


def fits(image: pyvips.Image, extent: Extent, size: Size) -> bool:
    """Whether `resample_small` takes it: the averaged image is in memory, less than four times the result."""
    reduces = extent[0] >= size.width and extent[1] >= size.height
    return bool(reduces and max(size) <= _MAX_SIDE and image.format == "uchar" and image.bands in _MODES)


def resample_small(image: pyvips.Image, extent: Extent, size: Size) -> pyvips.Image:
    """Scale what ``extent`` covers to ``size``, which `fits`. The result is in memory."""
    across, down = box_factor(extent[0] / size.width), box_factor(extent[1] / size.height)
    boxed = _averaged(image, (ceil(extent[0]), ceil(extent[1])), across, down)
    extent = (extent[0] / across, extent[1] / down)
    made = boxed.resize(size, _LANCZOS, (0, 0, *extent))
    for axis in (0, 1):
        _weigh_last(made, boxed, extent, axis)
    result = pyvips.Image.new_from_memory(made.tobytes(), *size, image.bands, image.format)
    return image.crop(0, 0, *size).insert(result, 0, 0)  # the metadata is the image's


def _averaged(image: pyvips.Image, size: tuple[int, int], across: int, down: int) -> Image.Image:
    """Average boxes of the first ``size`` pixels; the last boxes have what is left, without what completes them."""
    if size != (image.width, image.height):
        image = image.crop(0, 0, *size)
    width, height = -(-size[0] // across) * across, -(-size[1] // down) * down
    if size != (width, height):
        image = image.embed(0, 0, width, height, extend="black")
    boxed = _to_pillow(image.shrink(across, down) if across * down > 1 else image)
    for axis, box in enumerate((across, down)):
        if rest := size[axis] % box:
            last = _line(boxed.size, axis, boxed.size[axis] - 1)
            dark = boxed.crop(last)
            boxed.paste(Image.blend(Image.new(dark.mode, dark.size), dark, box / rest), last)
    return boxed


def _to_pillow(image: pyvips.Image) -> Image.Image:
    mode = _MODES[image.bands]
    return Image.frombytes(mode, (image.width, image.height), image.write_to_memory())


def _weigh_last(made: Image.Image, boxed: Image.Image, extent: Extent, axis: int) -> None:
    """Reduce the weight of the last column (axis 0) or row (1), which Pillow takes for whole, to the part it covers."""
    if extent[axis] == boxed.size[axis]:
        return
    last = boxed.crop(_line(boxed.size, axis, boxed.size[axis] - 1))
    length = made.size[1 - axis]
    area = (0, 0, 1, extent[1]) if axis == 0 else (0, 0, extent[0], 1)
    repeated = last.resize((1, length) if axis == 0 else (length, 1), _LANCZOS, area)
    for place, share in _shares(extent[axis], made.size[axis]):
        line = _line(made.size, axis, place)
        made.paste(Image.blend(repeated, made.crop(line), share), line)  # extrapolates, and clips


def _shares(extent: float, result: int) -> Iterator[tuple[int, float]]:
    """Yield the places that the last pixel of ``extent`` reaches, and what part of the rest remains there.

    The rest is what the other pixels contribute.
    """
    ratio, last = extent / result, ceil(extent) - 1
    for place in range(max(0, result - _LOBES), result):
        middle = (place + 0.5) * ratio
        first = max(0, int(middle - _LOBES * ratio + 0.5))  # as Pillow has it
        taken = _weight(first, last, middle, ratio, 1), _weight(last, last + 1, middle, ratio, 1)
        exact = _weight(first, last, middle, ratio, _PARTS), _weight(last, extent, middle, ratio, _PARTS)
        yield place, exact[0] / sum(exact) / (taken[0] / sum(taken))


def _weight(start: float, end: float, middle: float, ratio: float, parts: int) -> float:
    """Return the integral of the kernel around ``middle``, by this many values a pixel."""
    count = ceil(end - start) * parts
    step = (end - start) / count
    return step * sum(_lanczos((start + (each + 0.5) * step - middle) / ratio) for each in range(count))


def _lanczos(distance: float) -> float:
    if abs(distance) >= _LOBES:
        return 0.0
    angle = pi * distance
    return _LOBES * sin(angle) * sin(angle / _LOBES) / angle**2 if angle else 1.0


def _line(size: tuple[int, int], axis: int, place: int) -> tuple[int, int, int, int]:
    return (place, 0, place + 1, size[1]) if axis == 0 else (0, place, size[0], place + 1)
