"""Opens an image file with a decoder of libvips, by its descriptor."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyvips

from pixelflow.imaging.header import Header
from pixelflow.imaging.picture import orientation, upright_size
from pixelflow.imaging.source_options import SourceOptions

_WIDE = {"scrgb", "lab", "labs"}
"""Interpretations of floats and 16-bit Lab."""
Content: TypeAlias = "mmap.mmap | bytearray | bytes"
"""A file in memory."""


@dataclass(frozen=True)
class LoadOptions:
    """How to decode a file."""

    source: SourceOptions
    """The wishes of the job."""
    shrink: float = 1
    """Reduction by the decoder: a power of two up to the format's ``max_shrink``; of a vector image, any number."""
    frames: int = 1
    """Frames to decode from ``source.frame`` on, as one tall image with ``page-height``."""
    wide: bool = False
    """Whether more than 8 bits are of use, if the file has them. Decoders may return them in any case."""
    tolerant: bool = False
    """Whether to decode what is there of a damaged file."""

    @property
    def first(self) -> int:
        """The first frame to decode."""
        return self.source.frame or 0

    @property
    def fail_on(self) -> str:
        """The option ``fail_on`` of libvips' loaders. Warnings are common and don't matter to pixels."""
        return "none" if self.tolerant else "error"


def load_stream(
    loader: str,
    descriptor: int,
    content: Content | None = None,
    **options: Any,  # noqa: ANN401 - libvips' own options
) -> pyvips.Image:
    """Decode, as a stream unless ``access`` is set. What was made before must be used no more: all share the position.

    Args:
        loader: name of the operation, such as ``jpegload_source``.
        descriptor: of the file.
        content: what to decode instead of the file.
        options: of the operation.

    Raises:
        pyvips.Error: the header is damaged. Damage beyond it is detected when pixels are computed.
    """
    image: pyvips.Image
    options = {"access": "sequential"} | options
    if content is not None:
        # Unlike the functions of the loaders, this one keeps the memory alive as long as the image.
        source = pyvips.Source.new_from_memory(content)
        image = pyvips.Image.new_from_source(source, "", **options)
        return image
    os.lseek(descriptor, 0, os.SEEK_SET)
    source = pyvips.Source.new_from_descriptor(descriptor)
    image = getattr(pyvips.Image, loader)(source, **options)
    return image


def spread(image: pyvips.Image, bits: int) -> pyvips.Image:
    """Spread values that the decoder returned in the upper ``bits`` of 16 over all of them, so that white is white."""
    if image.format != "ushort":
        return image
    return image.linear(65_535 / (65_536 - (1 << (16 - bits))), 0.5).cast("ushort")


def header_of(image: pyvips.Image) -> Header:
    """Read the header of an image that libvips opened."""
    return Header(
        size=upright_size(image),
        frames=int(image.get("n-pages")) if image.get_typeof("n-pages") else 1,
        bytes_per_pixel=image.bands * (2 if image.format == "ushort" else 1),
        wide=image.format == "ushort" or image.interpretation in _WIDE,
        whole=bool(image.get_typeof("interlaced") and image.get("interlaced")),
        turned=orientation(image) != 1,
    )
