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

from pixelflow.imaging.format import Format
from pixelflow.imaging.formats.registry import FORMATS
from pixelflow.imaging.header import Header
from pixelflow.imaging.operation import ROWS
from pixelflow.imaging.operations.registry import operation_of
from pixelflow.imaging.plan import Plan
from pixelflow.imaging.step import SOURCE, Step

_BASE = 40_000_000
"""Bytes that a child adds to the template's before it holds any picture: code, heap and tables of libvips."""
_CHANNELS = 4
"""Bytes per pixel of a result with 8 bits per channel."""
_ROW_BYTES = 8
"""Bytes per pixel of a row between decoder, operations and encoder."""
_ALPHA_ROW_BYTES = 32
"""The same with alpha, which is premultiplied and divided out again in floats."""
_ALPHA_PIXEL_BYTES = {2, 4, 8}
"""Bytes per pixel of sources that can have alpha: grey or RGB, 8 or 16 bits."""


class Memory(NamedTuple):
    """Bytes of memory."""

    kept: int
    """Of pictures that the plan keeps at the same time: less is never enough."""
    peak: int
    """Upper estimate of all."""

    def plus(self, *, kept: int, working: int) -> Memory:
        """Return the memory with so many bytes more of pictures, and of work on them."""
        return Memory(self.kept + kept, self.peak + kept + working)


def estimate(plan: Plan, format_: Format, header: Header, frames: int = 1) -> Memory:
    """Estimate the memory of a plan.

    Args:
        plan: of the pipeline for this source.
        format_: of the source.
        header: of the source.
        frames: frames that are decoded.
    """
    alive = {SOURCE: _source_bytes(plan, header, frames)}
    kept, step_peak = alive[SOURCE], 0
    translucent = _translucent(plan, header)
    probed = format_.alpha and header.bytes_per_pixel == _CHANNELS and not header.whole and frames == 1
    for step in plan.steps:
        operation, given = operation_of(step), plan.sizes[step.from_].result
        result = _kept_bytes(plan, step, header, frames, probed=probed)
        now = sum(alive.values()) + result
        wider = _wider(plan, step)
        kept = max(kept, now + wider * operation.kept(given, step))
        step_peak = max(
            step_peak, now + wider * operation.memory(given, step) + _working_bytes(plan, step, step.id in translucent)
        )
        if plan.shared(step.id):
            alive[step.id] = result
        for name in operation.inputs(step):
            if plan.is_last_use(name, step):
                alive.pop(name, None)
    return Memory(kept, _BASE + _decoder_bytes(plan, format_, header) + max(kept, step_peak))


def _source_bytes(plan: Plan, header: Header, frames: int) -> int:
    """Bytes of the source in memory; smaller versions of a pyramid have less than 1.5 times its pixels."""
    if not plan.shared(SOURCE) and frames == 1:
        return 0
    return header.size.reduced(plan.shrink * plan.box).pixels * header.bytes_per_pixel * frames


def _decoder_bytes(plan: Plan, format_: Format, header: Header) -> int:
    on_load = 1 if header.whole and not format_.vector else plan.shrink
    pixels = header.size.reduced(on_load).pixels
    if header.whole or format_.decodes_whole:
        return pixels * format_.decoder_bytes
    return header.size.width * ROWS * header.bytes_per_pixel


def _kept_bytes(plan: Plan, step: Step, header: Header, frames: int, *, probed: bool) -> int:
    """Bytes of the pictures that are kept for the step: its result if it is used again, versions of the source.

    ``probed``: the source is a stream that can have alpha, and `Picture.scaled` looks for translucent pixels.
    """
    working, result = plan.sizes[step.id]
    channels = _CHANNELS * _wider(plan, step)
    kept = result.pixels * channels * frames if plan.shared(step.id) or frames > 1 else 0
    if header.turned:  # rotation keeps a copy
        kept += 2 * working.pixels * max(_CHANNELS, header.bytes_per_pixel)
    if step.from_ == SOURCE and working != header.size:
        if plan.shared(SOURCE):
            kept += working.pixels * channels  # a version of the pyramid
        elif probed:
            kept += working.pixels * _CHANNELS
    return kept


def _translucent(plan: Plan, header: Header) -> set[str]:
    """Return the names of the results that can have alpha."""
    found = {SOURCE} if header.bytes_per_pixel in _ALPHA_PIXEL_BYTES else set[str]()
    for step in plan.steps:
        operation = operation_of(step)
        if operation.adds_alpha or not found.isdisjoint(operation.inputs(step)):
            found.add(step.id)
    return found


def _working_bytes(plan: Plan, step: Step, translucent: bool) -> int:
    working, result = plan.sizes[step.id]
    row = max(plan.sizes[step.from_].result.width, working.width, result.width)
    encoder = FORMATS[plan.formats[step.id]].encoder_bytes if step.output else 0
    rows = row * ROWS * (_ALPHA_ROW_BYTES if translucent else _ROW_BYTES)
    return _wider(plan, step) * (rows + result.pixels * encoder)


def _wider(plan: Plan, step: Step) -> int:
    """Return by what factor the pixels of the step are larger than those of 8 bits per channel."""
    return 2 if step.id in plan.wide else 1
