"""Draws SVG, by librsvg in libvips.

The document has no address, so librsvg resolves no reference to another file or server; it reads no external entity.
What it draws is bounded by its own limits on elements and references, and by the size that is asked for here.
"""

from __future__ import annotations

import os

import pyvips

from pixelflow.errors import TooManyPixelsError, UndecodableError
from pixelflow.imaging.formats.svg.embedded import embedded_pixels
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions

LOADERS = ("VipsForeignLoadSvgSource",)
MAX_BYTES = 8 * 1024 * 1024
"""Of a document. Larger ones are data, such as maps, that take minutes and gigabytes to draw."""
MAX_EMBEDDED_PIXELS = 50_000_000
"""Of all pictures in a document. librsvg decodes each as a whole, at four bytes per pixel and more."""
DENSITY = 72
"""The default, in dots per inch: one pixel of the document is one pixel of the image, as in sharp and libvips."""


def header(descriptor: int, options: LoadOptions) -> Header:
    """Read the document and return the size that it has at the density.

    Raises:
        UndecodableError: the document is damaged, too large or has no size.
        TooManyPixelsError: the pictures in it have more than `MAX_EMBEDDED_PIXELS` pixels together.
    """
    if os.fstat(descriptor).st_size > MAX_BYTES:
        raise UndecodableError(f"The SVG document has more than {MAX_BYTES} bytes")
    pixels = embedded_pixels(os.pread(descriptor, MAX_BYTES, 0))
    if pixels > MAX_EMBEDDED_PIXELS:
        raise TooManyPixelsError(
            f"The pictures in the SVG document have more than {MAX_EMBEDDED_PIXELS} pixels together"
        )
    image = load(descriptor, options)
    return Header(Size(image.width, image.height), frames=1, bytes_per_pixel=4, whole=True, regions=True)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Draw the document at the density, reduced."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    source = pyvips.Source.new_from_descriptor(descriptor)
    scale = (options.source.density or DENSITY) / DENSITY / options.shrink
    return pyvips.Image.svgload_source(source, scale=scale)
