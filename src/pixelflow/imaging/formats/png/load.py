"""Decodes PNG."""

from __future__ import annotations

from dataclasses import replace

import pyvips

from pixelflow.imaging.colour.source import with_color_of_png
from pixelflow.imaging.formats.png import animation
from pixelflow.imaging.formats.png.completed import completed
from pixelflow.imaging.formats.png.late_exif import late_orientation
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions, header_of, load_stream
from pixelflow.imaging.source_options import SourceOptions

LOADERS = ("VipsForeignLoadPngSource",)


def header(descriptor: int, options: LoadOptions) -> Header:
    """Read the header, and the number of frames of an animation."""
    still = header_of(_still(descriptor, replace(options, frames=1, source=SourceOptions()), pixels=False))
    frames = animation.count_frames(descriptor)
    animated = frames > 1 or animation.replaces_default(descriptor)
    channels = max(still.bytes_per_pixel, animation.CHANNELS) if animated else still.bytes_per_pixel
    return replace(still, frames=frames, bytes_per_pixel=channels)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream. Frames of an animation are decoded at once; the default image may be none of them."""
    chosen = options.source.frame is not None and animation.count_frames(descriptor) > 1
    if options.frames > 1 or chosen or animation.replaces_default(descriptor):
        return with_color_of_png(animation.load_frames(descriptor, options), descriptor)
    return _still(descriptor, options)


def _still(descriptor: int, options: LoadOptions, *, pixels: bool = True) -> pyvips.Image:
    content = completed(descriptor, pixels=pixels) if options.tolerant else None
    image = load_stream("pngload_source", descriptor, content, fail_on=options.fail_on)
    return _upright(with_color_of_png(image, descriptor), descriptor)


def _upright(image: pyvips.Image, descriptor: int) -> pyvips.Image:
    if image.get_typeof("orientation") or not (orientation := late_orientation(descriptor)):
        return image
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image
