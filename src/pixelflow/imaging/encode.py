"""Output formats and their encoder options.

Outputs must never contain metadata: no location, no camera, no color profile (sRGB needs none). They go to a
descriptor, because the process has no folder that it could write to.
"""

from __future__ import annotations

from typing import Any

import pyvips

from pixelflow.errors import OutputTooLargeError
from pixelflow.imaging.colors import rgba
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.pipeline import DEFAULT_QUALITY, FORMAT_MAX_DIMENSION, Format, Step

# Measured on a 640 × 360 photo, on one core of a small server: CPU time and file size, compared with libvips' defaults.
_ENCODER_OPTIONS: dict[Format, dict[str, Any]] = {
    # Not used: optimized Huffman tables (1.5 % smaller, 30 % more CPU) and progressive (7 % smaller, 100 % more CPU).
    Format.JPEG: {},
    # Level 3, filter chosen per row: 464 KB in 27 ms. Default (level 6, no filter): 619 KB in 22 ms.
    Format.PNG: {"compression": 3, "filter": "all"},
    # Effort 2 of 6: 59.0 KB in 22 ms. Default (effort 4): 57.5 KB in 41 ms.
    Format.WEBP: {"effort": 2},
    # Effort 0 of 9: 30.3 KB in 26 ms. Default (effort 4): 30.3 KB in 1145 ms.
    Format.AVIF: {"compression": "av1", "effort": 0},
}


def encode(picture: Picture, step: Step, format_: Format, output: int) -> None:
    """Append the picture to the file ``output``, flattened over the background if the format has no transparency.

    Raises:
        OutputTooLargeError: a side exceeds the limit of the format.
    """
    longest = max(picture.size)
    if longest > FORMAT_MAX_DIMENSION[format_]:
        raise OutputTooLargeError(
            f"The longer side is {longest} pixels; the limit of {format_.value} is {FORMAT_MAX_DIMENSION[format_]}",
            step_id=step.id,
        )
    image = picture.image
    if format_ is Format.JPEG and image.hasalpha():
        image = image.flatten(background=[*rgba(step.background).rgb])
    options = _ENCODER_OPTIONS[format_] | _quality(step, format_)
    save = {
        Format.JPEG: image.jpegsave_target,
        Format.PNG: image.pngsave_target,
        Format.WEBP: image.webpsave_target,
        Format.AVIF: image.heifsave_target,
    }
    save[format_](pyvips.Target.new_to_descriptor(output), keep="none", **options)


def _quality(step: Step, format_: Format) -> dict[str, Any]:
    if format_ is Format.PNG:
        return {}
    return {"Q": step.quality or DEFAULT_QUALITY[format_]}
