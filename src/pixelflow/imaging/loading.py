"""Opens an image file with a decoder of libvips, by its descriptor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pyvips

from pixelflow.imaging.header import Header
from pixelflow.imaging.picture import orientation, upright_size
from pixelflow.imaging.source_options import SourceOptions


@dataclass(frozen=True)
class LoadOptions:
    """How to decode a file."""

    source: SourceOptions
    """The wishes of the job."""
    shrink: float = 1
    """Reduction by the decoder: a power of two up to the format's ``max_shrink``; of a vector image, any number."""
    frames: int = 1
    """Frames to decode from ``source.frame`` on, as one tall image with ``page-height``."""

    @property
    def first(self) -> int:
        """The first frame to decode."""
        return self.source.frame or 0


def load_stream(loader: str, descriptor: int, **options: Any) -> pyvips.Image:  # noqa: ANN401 - libvips' own options
    """Decode as a stream. The image made before must be used no more: all share the position in the file.

    Args:
        loader: name of the operation, such as ``jpegload_source``.
        descriptor: of the file.
        options: of the operation.

    Raises:
        pyvips.Error: the header is damaged. Damage beyond it is detected when pixels are computed.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    source = pyvips.Source.new_from_descriptor(descriptor)
    # Truncated and corrupt data are errors. Warnings, such as stray bytes between JPEG markers, are common and ignored.
    image: pyvips.Image = getattr(pyvips.Image, loader)(source, access="sequential", **({"fail_on": "error"} | options))
    return image


def header_of(image: pyvips.Image) -> Header:
    """Read the header of an image that libvips opened."""
    return Header(
        size=upright_size(image),
        frames=int(image.get("n-pages")) if image.get_typeof("n-pages") else 1,
        bytes_per_pixel=image.bands * (2 if image.format == "ushort" else 1),
        whole=bool(image.get_typeof("interlaced") and image.get("interlaced")),
        turned=orientation(image) != 1,
    )
