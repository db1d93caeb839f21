"""Crops to a size: where the part to keep is, and the part itself."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple, Protocol

import pyvips

from pixelflow.errors import StepFailedError
from pixelflow.imaging.alpha import straight
from pixelflow.imaging.colour import convert
from pixelflow.imaging.context import Context
from pixelflow.imaging.faces import EXTRA, Face, by_faces, corner_around
from pixelflow.imaging.fields import FocalPoint, StepId
from pixelflow.imaging.geometry import Size, place, place_at
from pixelflow.imaging.gravity import Gravity, Interest
from pixelflow.imaging.picture import Picture, orientation
from pixelflow.imaging.protocol import TransformWarning, WarningCode

_MOST_BANDS = 3
"""Of a picture that no conversion makes smaller."""
_MIRRORED_ACROSS = {2, 3, 6, 7}
_MIRRORED_DOWN = {3, 4, 7, 8}
_TRANSPOSED = {5, 6, 7, 8}
"""EXIF orientations (CIPA DC-008, tag 274) as mirrors of the upright picture, followed by an exchange of x and y."""

Corner = tuple[int, int]
"""Left and top, in pixels."""


class Positioned(Protocol):
    """A step that keeps a part of a picture."""

    @property
    def id(self) -> StepId:
        """Its name."""
        ...

    @property
    def gravity(self) -> Gravity | Interest:
        """Where the part is, without a focal point."""
        ...

    @property
    def focus(self) -> FocalPoint | None:
        """Where the part is."""
        ...


class CropPlace(NamedTuple):
    """Where the part to keep is."""

    corner: Corner
    faces_missed: bool = False
    """Whether faces were searched and none was found: the part is that of `attention`."""


def find_place(image: pyvips.Image, size: Size, step: Positioned, searched: Picture) -> CropPlace:
    """Return where the part of this size is.

    Args:
        image: to crop.
        size: of the part, in its pixels.
        step: its gravity or focal point.
        searched: shows the same, with enough pixels to find faces. It can be read several times.

    Raises:
        StepFailedError: faces are to be found, and the worker can't.
    """
    if not by_faces(step.gravity, step.focus):
        return CropPlace(_corner_of(image, size, step.gravity, step.focus))
    faces = _find_faces(searched, step)
    if faces:
        return CropPlace(corner_around(faces, Size(image.width, image.height), size))
    return CropPlace(_corner_of(image, size, Interest.ATTENTION, None), faces_missed=True)


def corner_at(place: CropPlace, step: Positioned, context: Context) -> Corner:
    """Return the corner of a place, with a warning if it is not where the step wants it."""
    if place.faces_missed:
        message = "No faces were found: the part was chosen by `attention`"
        context.warn(TransformWarning(code=WarningCode.NO_FACES_FOUND, message=message, step_id=step.id))
    return place.corner


def _find_faces(picture: Picture, step: Positioned) -> list[Face]:
    try:
        detection = import_module("pixelflow.imaging.face_detection")
    except ImportError as error:
        missing = f"`faces` needs the extra `{EXTRA}`, which this worker does not have"
        raise StepFailedError(missing, step_id=step.id) from error
    found: list[Face] = detection.find(picture)
    return found


def _corner_of(image: pyvips.Image, size: Size, gravity: Gravity | Interest, focus: FocalPoint | None) -> Corner:
    """Return left and top of the part of this size to keep. By content, it reads the pixels twice."""
    outer = Size(image.width, image.height)
    if focus is not None:
        return place_at(focus, outer, size)
    if isinstance(gravity, Gravity):
        return place(gravity, outer, size)
    # Without alpha, libvips counts 256 levels of each channel for the entropy instead of 65 536: 60 MB less.
    image = convert.to_8_bits(image)
    seen = image.flatten().copy_memory() if image.hasalpha() else image
    found = seen.smartcrop(*size, interesting=gravity.value)
    return -int(found.xoffset), -int(found.yoffset)


def by_content(gravity: Gravity | Interest, focus: FocalPoint | None) -> bool:
    """Whether the position depends on the pixels."""
    return focus is None and isinstance(gravity, Interest)


def reduced(picture: Picture, size: Size) -> Size:
    """Convert a size in nominal pixels to the scale of an upright picture, which may be reduced."""
    width, height = picture.covered
    across, down = width / picture.size.width, height / picture.size.height
    return Size(max(1, round(size.width * across)), max(1, round(size.height * down)))


def cut(picture: Picture, corner: Corner, size: Size) -> Picture:
    """Crop to a part given in nominal, upright pixels. The picture may be reduced and stored turned.

    The edges of a reduced part are off by at most half of its pixels. The rows from its top down are kept in memory,
    unless the picture has regions.
    """
    (left, top), whole, part = corner, picture.size, size
    turned = orientation(picture.image)
    if turned in _MIRRORED_ACROSS:
        left = whole.width - left - part.width
    if turned in _MIRRORED_DOWN:
        top = whole.height - top - part.height
    if turned in _TRANSPOSED:
        left, top, whole, part = top, left, Size(whole.height, whole.width), Size(part.height, part.width)
    across, down = picture.covered
    x, width = _edges(left, part.width, across / whole.width, picture.image.width)
    y, height = _edges(top, part.height, down / whole.height, picture.image.height)
    if picture.regions:
        return picture.with_size(picture.image.crop(x, y, width, height), size)
    return picture.with_size(_read_to_the_end(picture, x, y, Size(width, height)), size)


def _read_to_the_end(picture: Picture, left: int, top: int, size: Size) -> pyvips.Image:
    """Crop after reading all rows below: a damaged source is refused wherever the damage is.

    That costs the rows below, of which a stream could be relieved: of a JPEG of 48 MP, a tenth at the top takes 320 ms
    of CPU, and would take 100 without them. They take no conversion unless it makes them smaller.
    """
    below = straight(picture.image.crop(left, top, size.width, picture.image.height - top))
    if below.format != "uchar" or below.bands > _MOST_BANDS:
        below = convert.to_target(below, picture.target)
    return below.copy_memory().crop(0, 0, *size)


def _edges(near: int, extent: int, scale: float, outer: int) -> tuple[int, int]:
    """Return start and length in pixels of an image that has ``outer``."""
    start = min(round(near * scale), outer - 1)
    return start, min(max(1, round((near + extent) * scale) - start), outer - start)
