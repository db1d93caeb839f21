"""Decodes the frames of an animated PNG (PNG, third edition, 4.9), by Pillow. libvips reads the default image alone."""

from __future__ import annotations

import os

import pyvips
from PIL.PngImagePlugin import PngImageFile

from pixelflow.imaging.colour.png import read_chunks
from pixelflow.imaging.decoded import Pixels, to_image
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.loading import LoadOptions
from pixelflow.imaging.pillow import open_image

_CONTROL, _FRAME_CONTROL = b"acTL", b"fcTL"
_LENGTHS = {_CONTROL: 8, _FRAME_CONTROL: 26}
_MAX_CHUNKS = 1 << 16
"""Chunks that are read."""
CHANNELS = 4
"""Of 8 bits, of each decoded frame."""
_MAX_COUNT = 2**31 - 1
"""Of frames and repetitions (PNG, third edition, 4.9), and of milliseconds in libvips."""


def count_frames(descriptor: int) -> int:
    """Return the number of frames that the file states, without the default image; 1 if it is no animation."""
    chunks = read_chunks(descriptor, _LENGTHS)
    return min(max(1, int.from_bytes(chunks[_CONTROL][:4], "big")), _MAX_COUNT) if _CONTROL in chunks else 1


def replaces_default(descriptor: int) -> bool:
    """Whether the animation is a single frame other than the default image: browsers show that frame alone.

    Of several frames, the default image is the author's choice for viewers without animation.
    """
    chunks = read_chunks(descriptor, _LENGTHS)
    if _CONTROL not in chunks or _FRAME_CONTROL in chunks or int.from_bytes(chunks[_CONTROL][:4], "big") > 1:
        return False
    return _has_frame(descriptor)


def _has_frame(descriptor: int) -> bool:
    position = 8
    for _ in range(_MAX_CHUNKS):
        head = os.pread(descriptor, 8, position)
        if head[4:] in {_FRAME_CONTROL, b"IEND", b""}:
            return head[4:] == _FRAME_CONTROL
        position += 12 + int.from_bytes(head[:4], "big")
    return False


def load_frames(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode frames into one tall image with ``page-height``, ``delay`` and ``loop``."""
    with map_decode_errors("PNG"), open_image(descriptor, PngImageFile) as image:
        first = options.first + bool(image.info.get("default_image"))
        data, delays = bytearray(), []
        for place in range(first, first + options.frames):
            image.seek(place)
            data += image.convert("RGBA").tobytes()
            delays.append(min(round(image.info.get("duration", 0)), _MAX_COUNT))
        width, height = image.size
        pixels = Pixels(data, width, height * options.frames, CHANNELS)
        frames = to_image(pixels, profile=image.info.get("icc_profile"))
        loop = min(int(image.info.get("loop", 0)), _MAX_COUNT)
    if options.frames > 1:
        frames.set_type(pyvips.GValue.gint_type, "page-height", height)
        frames.set_type(pyvips.GValue.array_int_type, "delay", delays)
        frames.set_type(pyvips.GValue.gint_type, "loop", loop)
    return frames
