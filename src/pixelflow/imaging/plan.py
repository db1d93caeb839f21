"""The execution plan of a pipeline: one decode, no result computed twice, no more pixels than needed.

The source is reduced by its decoder (``shrink``), or by averaging (``box``), as far as every step that uses it allows,
through chains of steps that work at any scale. A result used once is streamed from decoder to encoder; a result used
repeatedly stays in memory until its last use. A crop of a source asks its decoder for that region, if it can make one
alone: tiled TIFF and SVG. Of others, all rows are read, since damage anywhere is an error; decoders of HEIC, AVIF, JPEG
XL, WebP and PDF make the whole picture. Large outputs are made first, so that small ones can be made from them
(`pyramid`). Planning never processes an image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

from pixelflow.errors import OutputTooLargeError
from pixelflow.imaging.colour.choices import ColorChoice, HdrChoice
from pixelflow.imaging.formats.registry import FORMATS
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operation import Sizes
from pixelflow.imaging.operations.registry import operation_of
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.imaging.sampling import box_factor
from pixelflow.imaging.step import SOURCE, Step

_MIN_RATIO = 1.5
"""Minimum ratio of the reduced source to the requested size; the Lanczos kernel does the rest of the scaling.

16 photos of 1 to 24 MP scaled to a width of 640, CPU of decoding, scaling and encoding against libvips' thumbnail, and
SSIMULACRA2 of the scaling to a resize in floating point, median and least:

    1.0    0.92 ×   93.8   89.0   (as sharp and imgproxy)
    1.25   0.92 ×   95.2   92.2
    1.5    0.96 ×   96.2   94.7
    1.75   0.97 ×   96.8   95.1
    2.0    0.99 ×   97.1   95.1   (as libvips, whose thumbnails have 93.4 and 70.4)
"""
_MIN_CHAIN_RATIO = 1.75
"""The same of a source that is not only scaled: a crop of it ends at whole pixels of the reduced one."""

_MAX_ENLARGED_PIXELS = 50_000_000
"""Most pixels of a vector image that is drawn larger than its own size, as for a crop that is enlarged. It is drawn
whole; what the limit leaves to enlarge is interpolated."""


@dataclass(frozen=True)
class Plan:
    """The steps that lead to an output, in execution order, and the reduction of the source."""

    steps: tuple[Step, ...]
    """In execution order."""
    sizes: Mapping[str, Sizes]
    """The sizes that each step makes; of `source`, its own."""
    formats: Mapping[str, str]
    """The format of each result, if it is written; of `source`, its own."""
    colors: Mapping[str, ColorChoice]
    """The color space of each step's result."""
    wide: frozenset[str]
    """The results, and `source`, that have 16 bits per channel; all others have 8."""
    shrink: float
    """Factor by which the decoder reduces the source: a power of two; of a vector image, any number."""
    box: int
    """Factor by which it is reduced further, by averaging."""

    @property
    def keeps_gain_map(self) -> bool:
        """Whether an output is to have the gain map of the source."""
        return any(step.output and step.hdr is HdrChoice.KEEP for step in self.steps)

    @cached_property
    def hidden(self) -> frozenset[str]:
        """The steps whose result lacks parts of the picture that a step hid."""
        found: set[str] = set()
        for step in self.steps:
            operation = operation_of(step)
            if operation.hides or not found.isdisjoint(operation.inputs(step)):
                found.add(step.id)
        return frozenset(found)

    @cached_property
    def _uses(self) -> Counter[str]:
        reads = [name for step in self.steps for name in operation_of(step).inputs(step)]
        return Counter(reads + [step.id for step in self.steps if step.output])

    @cached_property
    def _last_use(self) -> dict[str, str]:
        return {name: step.id for step in self.steps for name in operation_of(step).inputs(step)}

    def shared(self, name: str) -> bool:
        """Whether the result of the step (or `source`) is used more than once."""
        return self._uses[name] > 1

    def is_last_use(self, name: str, step: Step) -> bool:
        """Whether no step after ``step`` uses ``name``."""
        return self._last_use.get(name, step.id) == step.id


def plan(pipeline: Sequence[Step], size: Size, source_format: str, *, wide: bool = False) -> Plan:
    """Plan ``pipeline`` for a source of this upright size and format; ``wide``: it has more than 8 bits."""
    needed = _needed(pipeline)
    sizes = _sizes(needed, size)
    reductions = _reductions(needed, sizes)
    steps = _largest_first(needed, sizes)
    reduction = reductions.get(SOURCE, 1)
    formats = output_formats(pipeline, source_format)
    colors, wide_results = _colors(needed, formats), _wide(needed) if wide else frozenset[str]()
    if FORMATS[source_format].vector:
        least_shrink = min(1, sqrt(size.pixels / _MAX_ENLARGED_PIXELS))
        return Plan(tuple(steps), sizes, formats, colors, wide_results, max(reduction, least_shrink), box=1)
    only_scaled = _is_only_scaled(steps, size)
    least = _MIN_RATIO if only_scaled else _MIN_CHAIN_RATIO
    shrink = _power_of_two(min(reduction / least, FORMATS[source_format].max_shrink))
    box = 1 if only_scaled else box_factor(reduction / shrink)
    return Plan(tuple(steps), sizes, formats, colors, wide_results, shrink, box)


def output_formats(pipeline: Sequence[Step], source_format: str) -> dict[str, str]:
    """Return the format of each step's result: its own ``format``, or that of its input."""
    formats = {SOURCE: FORMATS[source_format].default_output or source_format}
    for step in pipeline:
        formats[step.id] = step.format or formats[step.from_]
    return formats


def needs_animation(pipeline: Sequence[Step], source_format: str) -> bool:
    """Whether an output can show all frames of an animated source."""
    formats = output_formats(pipeline, source_format)
    return not FORMATS[source_format].pages and any(
        FORMATS[formats[step.id]].animation for step in pipeline if step.output
    )


def check_work(plan_: Plan, limits: TransformLimits, frames: int) -> None:
    """Check the pixels of each result and of all together, before any pixel is decoded.

    Raises:
        OutputTooLargeError: a result, or all of them, exceed the limit; names the step that does.
    """
    total = 0
    for step in plan_.steps:
        check_sizes(step, plan_.sizes[step.id], limits)
        total += max(size.pixels for size in plan_.sizes[step.id]) * frames
        if total > limits.max_job_output_pixels:
            raise OutputTooLargeError(
                f"The results of the steps exceed {limits.max_job_output_pixels} pixels together; "
                "use fewer steps or smaller sizes",
                step_id=step.id,
            )


def check_sizes(step: Step, sizes: Sizes, limits: TransformLimits) -> None:
    """Check the pixels of what a step makes.

    Raises:
        OutputTooLargeError: they exceed the limit.
    """
    largest = max(sizes, key=lambda size: size.pixels)
    if largest.pixels > limits.max_output_pixels:
        raise OutputTooLargeError(
            f"The step needs {largest.width} × {largest.height} pixels; the limit is {limits.max_output_pixels} pixels",
            step_id=step.id,
        )


def _needed(pipeline: Sequence[Step]) -> list[Step]:
    """Return the steps that lead to an output."""
    needed: list[Step] = []
    parents: set[str] = set()
    for step in reversed(pipeline):
        if step.output or step.id in parents:
            needed.insert(0, step)
            parents.update(operation_of(step).inputs(step))
    return needed


def _sizes(steps: Sequence[Step], source: Size) -> dict[str, Sizes]:
    sizes = {SOURCE: Sizes(source, source)}
    for step in steps:
        sizes[step.id] = operation_of(step).sizes(sizes[step.from_].result, step)
    return sizes


def _reductions(steps: Sequence[Step], sizes: Mapping[str, Sizes]) -> dict[str, float]:
    """Return the factor by which `source` and each result may be reduced, as their users allow.

    An output has its exact size, and a picture that a step reads beside ``from`` is needed in full.
    """
    allowed: dict[str, float] = {step.id: 1 for step in steps if step.output}
    for step in reversed(steps):
        operation = operation_of(step)
        own = operation.reduction(sizes[step.from_].result, step, allowed.get(step.id, 1))
        for name in operation.inputs(step):
            factor = own if name == step.from_ else 1
            allowed[name] = min(factor, allowed.get(name, factor))
    return allowed


def _is_only_scaled(steps: Sequence[Step], source: Size) -> bool:
    """Whether the source is used once, by a step that scales it: averaging is a part of that."""
    users = [step for step in steps if SOURCE in operation_of(step).inputs(step)]
    return len(users) == 1 and operation_of(users[0]).reduction(source, users[0], 1) > 1


def _colors(steps: Sequence[Step], formats: Mapping[str, str]) -> dict[str, ColorChoice]:
    """Return the color space of each result; of one that is no output, the one that all of its users ask for.

    An output without a color profile is sRGB.
    """
    colors: dict[str, ColorChoice] = {}
    asked: dict[str, set[ColorChoice]] = {}
    for step in reversed(steps):
        users = asked.get(step.id, set())
        passed_on = len(users) == 1 and not step.output and step.color_space is ColorChoice.SRGB
        colors[step.id] = users.pop() if passed_on else step.color_space
        if step.output and not FORMATS[formats[step.id]].profiles:
            colors[step.id] = ColorChoice.SRGB
        for name in operation_of(step).inputs(step):
            asked.setdefault(name, set()).add(colors[step.id])
    return colors


def _wide(steps: Sequence[Step]) -> frozenset[str]:
    """Return `source` and the results that lead to an output with more than 8 bits, if the source has more."""
    found: set[str] = set()
    for step in reversed(steps):
        asks = step.output and step.encoder is not None and step.encoder.wide
        if asks or step.id in found:
            found.update((step.id, *operation_of(step).inputs(step)))
    return frozenset(found)


def _largest_first(steps: list[Step], sizes: Mapping[str, Sizes]) -> list[Step]:
    """Reorder the source's steps without dependents, largest output first: no other result stays in memory longer."""
    parents = {name for step in steps for name in operation_of(step).inputs(step)}
    free = [
        place
        for place, step in enumerate(steps)
        if operation_of(step).inputs(step) == (SOURCE,) and step.id not in parents
    ]
    source = sizes[SOURCE].result
    by_size = sorted((steps[place] for place in free), key=lambda step: operation_of(step).reduction(source, step, 1))
    ordered = list(steps)
    for place, step in zip(free, by_size, strict=True):
        ordered[place] = step
    return ordered


def _power_of_two(maximum: float) -> int:
    shrink = 1
    while shrink * 2 <= maximum:
        shrink *= 2
    return shrink
