"""Writes results as outputs.

Outputs have no metadata, unless the step keeps some. They have a color profile unless they are sRGB. They go to
a descriptor, because the process has no folder that it could write to.
"""

from __future__ import annotations

from importlib import import_module

import pyvips

from pixelflow.errors import OutputTooLargeError
from pixelflow.imaging.alpha import flattened
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.colour import convert
from pixelflow.imaging.colour.choices import HdrChoice
from pixelflow.imaging.format import Format
from pixelflow.imaging.frames import Frames
from pixelflow.imaging.gain_map import joined
from pixelflow.imaging.metadata import Metadata, with_metadata
from pixelflow.imaging.metadata_choice import MetadataChoice
from pixelflow.imaging.step import Step


def encode(frames: Frames, step: Step, format_: Format, output: int, metadata: Metadata | None = None) -> None:
    """Append the frames to the file ``output``, flattened over the background if the format has no transparency.

    Args:
        frames: the result of the step.
        step: with its options of the output.
        format_: of the output.
        output: a descriptor.
        metadata: of the source, if any step keeps some.

    Raises:
        OutputTooLargeError: a side exceeds the limit of the format.
    """
    longest = max(frames.first.size)
    if longest > format_.max_side:
        raise OutputTooLargeError(
            f"The longer side is {longest} pixels; the limit of {format_.label} is {format_.max_side}",
            step_id=step.id,
        )
    assert format_.options is not None  # noqa: S101 - only output formats are encoded
    options = step.encoder or format_.options()
    image = convert.to_16_bits(frames.joined()) if options.wide else convert.to_8_bits(frames.joined())
    if image.hasalpha() and not format_.alpha:
        image = flattened(image, convert.values_of(rgba(step.background).rgb, image))
    if frames.gain_map and format_.gain_maps and step.hdr is HdrChoice.KEEP:
        image = joined(image, frames.gain_map)
    if metadata and step.metadata is not MetadataChoice.STRIP:
        image = with_metadata(image, metadata, step.metadata)
    codec = import_module(f"pixelflow.imaging.formats.{format_.name}.save")
    codec.save(
        image,
        pyvips.Target.new_to_descriptor(output),
        step.quality or format_.default_quality,
        options,
    )
