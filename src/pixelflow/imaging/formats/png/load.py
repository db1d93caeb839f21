"""Decodes PNG."""

from __future__ import annotations

from dataclasses import replace

import pyvips

from pixelflow.imaging.colour.source import with_color_of_png
from pixelflow.imaging.decoded import map_file
from pixelflow.imaging.formats.png import animation
from pixelflow.imaging.formats.png.completed import completed
from pixelflow.imaging.formats.png.late_exif import late_orientation
from pixelflow.imaging.formats.png.single_frame import read_single_frame
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions, header_of, load_stream
from pixelflow.imaging.metadata import with_metadata_of
from pixelflow.imaging.source_options import SourceOptions

LOADERS = ("VipsForeignLoadPngSource",)


def header(descriptor: int, options: LoadOptions) -> Header:
    """Read the header, and the number of frames of an animation."""
    still = header_of(_still(descriptor, replace(options, frames=1, source=SourceOptions()), pixels=False))
    frames = animation.count_frames(descriptor)
    channels = max(still.bytes_per_pixel, animation.CHANNELS) if frames > 1 else still.bytes_per_pixel
    return replace(still, frames=frames, bytes_per_pixel=channels)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Decode as a stream. Frames of an animation are decoded at once."""
    chosen = options.source.frame is not None and animation.count_frames(descriptor) > 1
    if options.frames > 1 or chosen:
        frames = with_color_of_png(animation.load_frames(descriptor, options), descriptor)
        return with_metadata_of(frames, _still(descriptor, options, pixels=False))
    return _still(descriptor, options)


def _still(descriptor: int, options: LoadOptions, *, pixels: bool = True) -> pyvips.Image:
    """Open the picture that is shown without animation: the default image, or the frame that replaces it."""
    single = read_single_frame(descriptor)
    content = single.content if single else None
    if options.tolerant:
        with map_file(descriptor) as data:
            content = completed(content or data, pixels=pixels) or content
    image = load_stream("pngload_source", descriptor, content, fail_on=options.fail_on)
    image = _upright(with_color_of_png(image, descriptor), descriptor)
    return single.on_canvas(image) if single else image


def _upright(image: pyvips.Image, descriptor: int) -> pyvips.Image:
    if image.get_typeof("orientation") or not (orientation := late_orientation(descriptor)):
        return image
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image
