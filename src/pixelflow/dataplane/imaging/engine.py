"""One transform: source in, outputs out. It must never write anywhere but into the request's directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pixelflow.contracts.errors import OutputTooLargeError
from pixelflow.contracts.pipeline import SOURCE, Format, Step, output_name
from pixelflow.dataplane.imaging.encode import encode
from pixelflow.dataplane.imaging.errors import applying, decoding
from pixelflow.dataplane.imaging.operations import OPERATIONS
from pixelflow.dataplane.imaging.picture import Picture
from pixelflow.dataplane.imaging.plan import Plan, plan
from pixelflow.dataplane.imaging.pyramid import Pyramid
from pixelflow.dataplane.imaging.source import Source, open_source
from pixelflow.dataplane.protocol import Rendered, RenderedOutput, RenderedSource, StepTime, TransformRequest


def transform(request: TransformRequest, *, clock: Callable[[], int] = time.monotonic_ns) -> Rendered:
    """Make the outputs of the request's pipeline; the same again if done again, files overwritten.

    Raises:
        UnsupportedFormatError: the source is no picture in a format that PixelFlow reads.
        UndecodableError: the source is damaged or ends too early.
        TooManyPixelsError: the source has more pixels than the limits allow; known before any is decoded.
        OutputTooLargeError: a step would make more pixels than allowed, a side longer than its format takes, or all
            outputs together more bytes than allowed.
        OutOfMemoryError: memory did not suffice.
        TransformCrashedError: there was no room for an output.
        StepFailedError: a step can't be applied to this picture.
    """
    stopwatch = _Stopwatch(clock)
    with stopwatch.timed(SOURCE):
        source = open_source(request.source, request.limits.max_source_pixels)
        run = _Run(request, source, plan(request.pipeline, source.size))
    outputs = {}
    for step in run.plan.steps:
        with stopwatch.timed(step.id):
            outputs[step.id] = run.step(step)
    return Rendered(
        source=RenderedSource(format=source.format, width=source.size.width, height=source.size.height),
        outputs=[output for step in request.pipeline if (output := outputs.get(step.id))],
        times=stopwatch.times,
    )


class _Stopwatch:
    """Keeps when the source, and each step, was worked on."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.times: list[StepTime] = []
        self._clock = clock
        self._began = clock()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        begun = self._microseconds()
        yield
        self.times.append(StepTime(step_id=name, begun_us=begun, ended_us=self._microseconds()))

    def _microseconds(self) -> int:
        return (self._clock() - self._began) // 1000


class _Run:
    """What is at hand while a pipeline is worked off."""

    def __init__(self, request: TransformRequest, source: Source, plan_: Plan) -> None:
        self.plan = plan_
        self._request = request
        self._source = source
        with decoding(source.format):
            self._pictures = {SOURCE: self._decoded(source)}
        self._formats = {SOURCE: source.format}
        self._bytes = 0

    def step(self, step: Step) -> RenderedOutput | None:
        """Apply one step and write its output, if it has one."""
        with applying(step.id, self._source.check):
            result = OPERATIONS[step.action].apply(self._parent(step), step, self._request.limits.max_output_pixels)
            self._pictures[step.id] = result = self._kept(step.id, result)
            self._formats[step.id] = format_ = step.format or self._formats[step.from_]
            return self._written(step, result, format_) if step.output else None

    def _parent(self, step: Step) -> Picture:
        """What the step works on, let go of when no later step does."""
        return self._pictures.pop(step.from_) if self.plan.is_last_use(step.from_, step) else self._pictures[step.from_]

    def _decoded(self, source: Source) -> Picture:
        decoded = self._kept(SOURCE, source.decode(self.plan.shrink))
        return Pyramid(decoded.image, decoded.size) if self.plan.shared(SOURCE) else decoded

    def _kept(self, name: str, picture: Picture) -> Picture:
        return picture.held() if self.plan.shared(name) else picture

    def _written(self, step: Step, picture: Picture, format_: Format) -> RenderedOutput:
        path = self._request.directory / output_name(step.id, format_)
        encode(picture, step, format_, path)
        self._bytes += path.stat().st_size
        if self._bytes > self._request.limits.max_output_bytes:
            raise OutputTooLargeError("the outputs have more bytes than allowed", step_id=step.id)
        return RenderedOutput(step_id=step.id, format=format_, width=picture.size.width, height=picture.size.height)
