"""One transform from source to outputs. It must never write outside the request's directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pixelflow.contracts.errors import OutputTooLargeError
from pixelflow.contracts.pipeline import SOURCE, Format, Step, output_name
from pixelflow.dataplane.imaging.encode import encode
from pixelflow.dataplane.imaging.errors import map_decode_errors, map_step_errors
from pixelflow.dataplane.imaging.operations import OPERATIONS
from pixelflow.dataplane.imaging.picture import Picture
from pixelflow.dataplane.imaging.plan import Plan, plan
from pixelflow.dataplane.imaging.pyramid import Pyramid
from pixelflow.dataplane.imaging.source import SourceImage, open_source
from pixelflow.dataplane.protocol import Rendered, RenderedOutput, RenderedSource, StepTime, TransformRequest


def transform(request: TransformRequest, *, clock: Callable[[], int] = time.monotonic_ns) -> Rendered:
    """Make the outputs of the request's pipeline. Idempotent: existing files are overwritten.

    Raises:
        UnsupportedFormatError: the source is not an image in a supported format.
        UndecodableError: the source is damaged or truncated.
        TooManyPixelsError: the source exceeds the pixel limit; raised before any pixel is decoded.
        OutputTooLargeError: an output exceeds the pixel limit or the dimensions of its format, or all outputs together
            exceed the byte limit.
        OutOfMemoryError: the transform ran out of memory.
        TransformCrashedError: the disk has no space for an output.
        StepFailedError: a step can't be applied to this image.
    """
    timer = _StepTimer(clock)
    with timer.measure(SOURCE):
        source = open_source(request.source, request.limits.max_source_pixels)
        run = _Run(request, source, plan(request.pipeline, source.size))
    outputs = {}
    for step in run.plan.steps:
        with timer.measure(step.id):
            outputs[step.id] = run.step(step)
    return Rendered(
        source=RenderedSource(format=source.format, width=source.size.width, height=source.size.height),
        outputs=[output for step in request.pipeline if (output := outputs.get(step.id))],
        times=timer.times,
    )


class _StepTimer:
    """Records start and end of the work on the source and of each step."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.times: list[StepTime] = []
        self._clock = clock
        self._start = clock()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start_us = self._microseconds()
        yield
        self.times.append(StepTime(step_id=name, start_us=start_us, end_us=self._microseconds()))

    def _microseconds(self) -> int:
        return (self._clock() - self._start) // 1000


class _Run:
    """State of a transform in progress: pictures, formats and bytes written so far."""

    def __init__(self, request: TransformRequest, source: SourceImage, plan_: Plan) -> None:
        self.plan = plan_
        self._request = request
        self._source = source
        with map_decode_errors(source.format):
            self._pictures = {SOURCE: self._decode(source)}
        self._formats = {SOURCE: source.format}
        self._bytes = 0

    def step(self, step: Step) -> RenderedOutput | None:
        """Apply a step and write its output, if it has one."""
        with map_step_errors(step.id, self._source.check):
            result = OPERATIONS[step.action].apply(self._input(step), step, self._request.limits.max_output_pixels)
            self._pictures[step.id] = result = self._materialize_shared(step.id, result)
            self._formats[step.id] = format_ = step.format or self._formats[step.from_]
            return self._write(step, result, format_) if step.output else None

    def _input(self, step: Step) -> Picture:
        """Return the picture that the step works on, and drop it after its last use."""
        return self._pictures.pop(step.from_) if self.plan.is_last_use(step.from_, step) else self._pictures[step.from_]

    def _decode(self, source: SourceImage) -> Picture:
        decoded = self._materialize_shared(SOURCE, source.decode(self.plan.shrink))
        return Pyramid(decoded.image, decoded.size) if self.plan.shared(SOURCE) else decoded

    def _materialize_shared(self, name: str, picture: Picture) -> Picture:
        return picture.materialized() if self.plan.shared(name) else picture

    def _write(self, step: Step, picture: Picture, format_: Format) -> RenderedOutput:
        path = self._request.directory / output_name(step.id, format_)
        encode(picture, step, format_, path)
        self._bytes += path.stat().st_size
        if self._bytes > self._request.limits.max_output_bytes:
            raise OutputTooLargeError("The outputs exceed the byte limit", step_id=step.id)
        return RenderedOutput(step_id=step.id, format=format_, width=picture.size.width, height=picture.size.height)
