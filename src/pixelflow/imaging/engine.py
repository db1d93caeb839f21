"""One transform from source to outputs. It must never open a file of a user: source and outputs are descriptors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pixelflow.errors import OutputTooLargeError
from pixelflow.imaging.encode import encode
from pixelflow.imaging.errors import map_decode_errors, map_step_errors
from pixelflow.imaging.memory import estimate
from pixelflow.imaging.operations import OPERATIONS
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.pipeline import SOURCE, Format, Step
from pixelflow.imaging.plan import Plan, check_work, plan
from pixelflow.imaging.protocol import Rendered, RenderedOutput, RenderedSource, StepTime, TransformRequest
from pixelflow.imaging.pyramid import Pyramid
from pixelflow.imaging.source import SourceImage, open_source


class Transform:
    """One transform: opened and planned at once, run later."""

    def __init__(self, request: TransformRequest, source: int, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Read the header of the source and plan; no pixel is decoded yet.

        Args:
            request: the steps and their limits.
            source: descriptor of the source file.
            clock: nanoseconds that only increase.

        Raises:
            UnsupportedFormatError: the source is not an image in a supported format.
            UndecodableError: the header of the source is damaged.
            TooManyPixelsError: the source exceeds the pixel limit.
            TooManyScansError: the source exceeds the limit of scans.
            OutputTooLargeError: the results of all steps together exceed the pixel limit of a job.
        """
        self._request = request
        self._timer = _StepTimer(clock)
        with self._timer.measure(SOURCE):
            self._source = open_source(source, request.limits)
            self._plan = plan(request.pipeline, self._source.size)
            check_work(self._plan, self._source.size, request.limits)
        self.memory = estimate(self._plan, self._source)

    def run(self, output: int) -> Rendered:
        """Append the outputs to the file ``output``, a descriptor.

        Raises:
            UndecodableError: the source is damaged or truncated.
            OutputTooLargeError: an output exceeds the pixel limit or the dimensions of its format, or all outputs
                together exceed the byte limit.
            OutOfMemoryError: the transform ran out of memory.
            WorkerUnavailableError: the disk has no space for an output.
            StepFailedError: a step can't be applied to this image.
        """
        source, timer = self._source, self._timer
        with timer.measure(SOURCE, again=True):
            run = _Run(self._request, source, self._plan, output)
        outputs = {}
        for step in self._plan.steps:
            with timer.measure(step.id):
                outputs[step.id] = run.step(step)
        return Rendered(
            request_id=self._request.request_id,
            source=RenderedSource(format=source.format, width=source.size.width, height=source.size.height),
            outputs=[each for step in self._request.pipeline if (each := outputs.get(step.id))],
            times=timer.times,
        )


class _StepTimer:
    """Records start and end of the work on the source and of each step."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.times: list[StepTime] = []
        self._clock = clock
        self._start = clock()

    @contextmanager
    def measure(self, name: str, *, again: bool = False) -> Iterator[None]:
        start_us = self.times.pop().start_us if again else self._microseconds()
        yield
        self.times.append(StepTime(step_id=name, start_us=start_us, end_us=self._microseconds()))

    def _microseconds(self) -> int:
        return (self._clock() - self._start) // 1000


class _Run:
    """State of a transform in progress: pictures, formats and bytes written so far."""

    def __init__(self, request: TransformRequest, source: SourceImage, plan_: Plan, output: int) -> None:
        self.plan = plan_
        self._request = request
        self._source = source
        self._output = output
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
        offset = self._bytes
        encode(picture, step, format_, self._output)
        self._bytes = os.fstat(self._output).st_size
        if self._bytes > self._request.limits.max_output_bytes:
            raise OutputTooLargeError("The outputs exceed the byte limit", step_id=step.id)
        return RenderedOutput(
            step_id=step.id,
            format=format_,
            width=picture.size.width,
            height=picture.size.height,
            offset=offset,
            bytes=self._bytes - offset,
        )
