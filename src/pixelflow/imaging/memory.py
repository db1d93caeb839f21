"""Estimate of the peak memory of a transform, from its plan. Never processes an image.

    peak = base
         + pictures kept at once    (source or result used repeatedly, versions of a pyramid, crops, rotations)
         + decoder                  (whole picture, or some rows)
         + largest step             (rows of its input and result, encoder)

The estimate decides which transforms run at the same time; it limits nothing. The constants are measured: the test
compares the estimate with the peaks of random jobs.
"""

from __future__ import annotations

from typing import NamedTuple

from pixelflow.imaging.geometry import Fitted, Size
from pixelflow.imaging.gravity import Gravity
from pixelflow.imaging.pipeline import SOURCE, Format, Resize, Step
from pixelflow.imaging.plan import Plan
from pixelflow.imaging.source import SourceImage, on_load_shrink

_BASE = 40_000_000
"""Bytes that a child adds to the template's before it holds any picture: code, heap and tables of libvips."""
_ROWS = 320
"""Rows of a streamed picture in memory: caches of libvips between decoder, resize and encoder."""
_DECODER_BYTES = {Format.JPEG: 6, Format.PNG: 8, Format.WEBP: 11, Format.AVIF: 14}
"""Per pixel, where the decoder keeps the whole picture; the coefficients of a progressive JPEG have 16 bits."""
_ENCODER_BYTES = {Format.JPEG: 0, Format.PNG: 0, Format.WEBP: 14, Format.AVIF: 28}
"""Per pixel, of encoders that take the whole picture."""
_LINEAR_BYTES = 12
"""Per pixel of a row in linear light: three floats."""


class Memory(NamedTuple):
    """Bytes of memory."""

    kept: int
    """Of pictures that the plan keeps at the same time: less is never enough."""
    peak: int
    """Upper estimate of all."""


def estimate(plan: Plan, source: SourceImage) -> Memory:
    """Estimate the memory of a plan for a source."""
    sizes = plan.sizes(source.size)
    alive = {SOURCE: _source_bytes(plan, source)}
    kept, step_peak = alive[SOURCE], 0
    for step in plan.steps:
        result = _kept_bytes(plan, step, sizes[step.id], source)
        now = sum(alive.values()) + result
        kept = max(kept, now)
        step_peak = max(step_peak, now + _working_bytes(step, sizes[step.from_].canvas, sizes[step.id], source))
        if plan.shared(step.id):
            alive[step.id] = result
        if plan.is_last_use(step.from_, step):
            alive.pop(step.from_, None)
    return Memory(kept, _BASE + _decoder_bytes(plan, source) + max(kept, step_peak))


def _reduced(source: SourceImage, shrink: int) -> int:
    return -(-source.size.width // shrink) * -(-source.size.height // shrink)


def _source_bytes(plan: Plan, source: SourceImage) -> int:
    """Bytes of the source in memory; smaller versions of a pyramid have less than 1.5 times its pixels."""
    if not plan.shared(SOURCE):
        return 0
    return _reduced(source, plan.shrink) * source.bytes_per_pixel


def _decoder_bytes(plan: Plan, source: SourceImage) -> int:
    on_load = on_load_shrink(source.format, plan.shrink)
    pixels = source.size.pixels if source.whole else _reduced(source, on_load)
    if source.whole or source.format in {Format.WEBP, Format.AVIF}:
        return pixels * _DECODER_BYTES[source.format]
    return source.size.width * _ROWS * source.bytes_per_pixel


def _kept_bytes(plan: Plan, step: Step, sizes: Fitted, source: SourceImage) -> int:
    """Bytes of the pictures that the step itself keeps: for repeated use, to crop, or to rotate."""
    channels = 4
    kept = sizes.canvas.pixels * channels if plan.shared(step.id) else 0
    if not isinstance(step, Resize):
        return kept + (2 * sizes.canvas.pixels * source.bytes_per_pixel if source.turned else 0)
    if plan.shared(step.from_) and step.from_ == SOURCE:
        kept += sizes.scaled.pixels * channels  # a version of the pyramid
    if source.turned:
        kept += 2 * sizes.scaled.pixels * channels
    if sizes.scaled != sizes.canvas:
        kept += sizes.scaled.pixels * channels * (1 if isinstance(step.gravity, Gravity) else 3)
    return kept


def _working_bytes(step: Step, given: Size, sizes: Fitted, source: SourceImage) -> int:
    linear = _LINEAR_BYTES if isinstance(step, Resize) and step.linear else 0
    row = max(given.width, sizes.scaled.width, sizes.canvas.width)
    working = row * _ROWS * (8 + linear)
    if not isinstance(step, Resize):
        working += 16 * sizes.canvas.pixels if step.watermark.tile else 6 * sizes.canvas.pixels
    if step.output:
        working += sizes.canvas.pixels * _ENCODER_BYTES[step.format or source.format]
    return working
