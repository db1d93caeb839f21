"""Decodes the frames of an animated PNG (PNG, third edition, 4.9), by Pillow. libvips reads the default image alone."""

from __future__ import annotations

import pyvips
from PIL.PngImagePlugin import PngImageFile

from pixelflow.imaging.colour.png import read_chunks
from pixelflow.imaging.decoded import Pixels, to_image
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.loading import LoadOptions
from pixelflow.imaging.pillow import open_image

_CONTROL, _FRAME_CONTROL = b"acTL", b"fcTL"
_LENGTHS = {_CONTROL: 8, _FRAME_CONTROL: 26}
CHANNELS = 4
"""Of 8 bits, of each decoded frame."""
_MAX_COUNT = 2**31 - 1
"""Of frames and repetitions (PNG, third edition, 4.9), and of milliseconds in libvips."""


def count_frames(descriptor: int) -> int:
    """Return the number of frames that the file states, without the default image; 1 if it is no animation."""
    chunks = read_chunks(descriptor, _LENGTHS)
    return min(max(1, int.from_bytes(chunks[_CONTROL][:4], "big")), _MAX_COUNT) if _CONTROL in chunks else 1


def states_animation(descriptor: int) -> bool:
    """Whether the file states that it is an animation, and its default image is no frame."""
    chunks = read_chunks(descriptor, _LENGTHS)
    return _CONTROL in chunks and _FRAME_CONTROL not in chunks


def load_frames(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode frames into one tall image with ``page-height``, ``delay`` and ``loop``, but without other metadata."""
    with map_decode_errors("PNG"), open_image(descriptor, PngImageFile, tolerant=options.tolerant) as image:
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
