"""One transform from source to outputs. It must never open a file of a user: it gets descriptors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType

from pixelflow.errors import OutputTooLargeError, UndecodableError
from pixelflow.imaging import decoder_warnings
from pixelflow.imaging.assets import AssetPictures
from pixelflow.imaging.colour import convert
from pixelflow.imaging.colour.choices import HdrChoice
from pixelflow.imaging.context import Context
from pixelflow.imaging.encode import encode
from pixelflow.imaging.errors import map_decode_errors, map_step_errors
from pixelflow.imaging.formats.registry import FORMATS
from pixelflow.imaging.frames import Frames
from pixelflow.imaging.memory import estimate
from pixelflow.imaging.metadata import Metadata
from pixelflow.imaging.metadata_choice import MetadataChoice
from pixelflow.imaging.operations.registry import operation_of
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.plan import Plan, check_sizes, check_work, needs_animation, plan
from pixelflow.imaging.protocol import (
    Rendered,
    RenderedOutput,
    RenderedSource,
    StepTime,
    TransformRequest,
    TransformWarning,
    WarningCode,
)
from pixelflow.imaging.pyramid import Pyramid
from pixelflow.imaging.source import SourceImage, open_source
from pixelflow.imaging.source_options import OnDamage
from pixelflow.imaging.step import SOURCE, Step

_SOURCE_DAMAGED = TransformWarning(
    code=WarningCode.SOURCE_DAMAGED,
    message="The source is damaged or truncated; the outputs show what could be decoded",
)
_GAIN_MAP_DROPPED = (
    "The output is the SDR picture: a gain map that can be read is kept from a JPEG to a JPEG, by steps that scale, "
    "crop, turn or mirror"
)


class Transform:
    """One transform: opened and planned at once, run later."""

    def __init__(
        self,
        request: TransformRequest,
        source: int,
        assets: Mapping[str, int] = MappingProxyType({}),
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Read the headers of the source and the assets and plan; no pixel is decoded yet.

        Args:
            request: the steps and their limits.
            source: descriptor of the source file.
            assets: descriptors of the files of the assets, by the names that the steps use.
            clock: nanoseconds that only increase.

        Raises:
            UnsupportedFormatError: the source or an asset is not an image in a supported format.
            UndecodableError: the header of the source or an asset is damaged.
            TooManyPixelsError: the source or an asset exceeds the pixel limit.
            TooManyScansError: the source or an asset exceeds the limit of scans.
            OutputTooLargeError: the results of all steps together exceed the pixel limit of a job.
        """
        self._request = request
        self._timer = _StepTimer(clock)
        with self._timer.measure(SOURCE):
            self._source = open_source(
                source,
                request.limits,
                request.source,
                animated=lambda format_: needs_animation(request.pipeline, format_),
            )
            header, format_ = self._source.header, self._source.format
            self._plan = plan(request.pipeline, header.size, format_.name, wide=header.wide)
            check_work(self._plan, request.limits, self._source.frames)
            self._assets = AssetPictures(assets, request.limits)
        memory = estimate(self._plan, format_, header, self._source.frames)
        self.memory = memory.plus(kept=self._assets.kept_bytes, working=self._assets.decoding_bytes)

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
        try:
            return self._run(output)
        except UndecodableError:
            if self._request.source.on_damage is not OnDamage.ACCEPT or self._source.tolerant:
                raise
        self._accept_damage(output)
        return self._run(output)

    def _accept_damage(self, output: int) -> None:
        """Start over, without the outputs of the first try."""
        os.ftruncate(output, 0)
        os.lseek(output, 0, os.SEEK_SET)
        self._source = self._source.accepting_damage()
        self._timer.restart()

    def _run(self, output: int) -> Rendered:
        source, timer = self._source, self._timer
        decoder_warnings.reset()
        with timer.measure(SOURCE, again=True):
            run = _Run(self._request, source, self._assets, self._plan, output)
        outputs = {}
        for step in self._plan.steps:
            with timer.measure(step.id):
                outputs[step.id] = run.step(step)
        return Rendered(
            request_id=self._request.request_id,
            source=RenderedSource(
                format=source.format.name,
                width=source.size.width,
                height=source.size.height,
                frames=source.header.frames,
            ),
            outputs=[each for step in self._request.pipeline if (each := outputs.get(step.id))],
            warnings=[*([_SOURCE_DAMAGED] if source.tolerant else []), *run.warnings],
            times=timer.times,
        )


class _StepTimer:
    """Records start and end of the work on the source and of each step."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.times: list[StepTime] = []
        self._clock = clock
        self._start = clock()

    def restart(self) -> None:
        """Discard all times: the work on the source lasts until now."""
        self.times = [StepTime(step_id=SOURCE, start_us=0, end_us=self._microseconds())]

    @contextmanager
    def measure(self, name: str, *, again: bool = False) -> Iterator[None]:
        start_us = self.times.pop().start_us if again else self._microseconds()
        yield
        self.times.append(StepTime(step_id=name, start_us=start_us, end_us=self._microseconds()))

    def _microseconds(self) -> int:
        return (self._clock() - self._start) // 1000


class _Run:
    """State of a transform in progress: results and bytes written so far."""

    def __init__(
        self, request: TransformRequest, source: SourceImage, assets: AssetPictures, plan_: Plan, output: int
    ) -> None:
        self.plan = plan_
        self._limits = request.limits
        self._source = source
        self._assets = assets
        self._output = output
        self._has_gain_map = plan_.keeps_gain_map and source.has_gain_map()
        with map_decode_errors(source.format.label):
            self._results = {SOURCE: self._decode(source)}
        source.check_warnings()
        wanted = any(step.metadata is not MetadataChoice.STRIP for step in plan_.steps)
        self._metadata = Metadata.of(self._results[SOURCE].first.image) if wanted else None
        self._bytes = 0
        self.warnings: dict[TransformWarning, None] = {}
        """Of the steps, each once, in order."""

    def step(self, step: Step) -> RenderedOutput | None:
        """Apply a step and write its output, if it has one."""
        with map_step_errors(step.id, self._source.check):
            result = self._keep_shared(step.id, self._apply(step))
            self._results[step.id] = result
            written = self._write(step, result) if step.output else None
        self._source.check_warnings()
        return written

    def _apply(self, step: Step) -> Frames:
        operation = operation_of(step)
        inputs = {name: self._input(name, step) for name in operation.inputs(step)}
        target = convert.target_for(self.plan.colors[step.id], inputs[step.from_].first.image)
        target = replace(target, wide=step.id in self.plan.wide)
        inputs = {name: frames.map(lambda picture: replace(picture, target=target)) for name, frames in inputs.items()}
        frames = inputs.pop(step.from_)
        # The plan's sizes are upper bounds if the content decides; a smaller input can still make a larger result.
        check_sizes(step, operation.sizes(frames.first.size, step), self._limits)
        pixels = import_module(f"{operation.package}.pixels")
        animated = len(frames) > 1 and hasattr(pixels, "decide")
        decision = pixels.decide(frames.first, step) if animated else None
        assets = {name: self._assets[name] for name in operation.assets(step)}
        results = []
        for place, picture in enumerate(frames):
            others = {name: other.at(place) for name, other in inputs.items()}
            context = Context(
                self._limits.max_output_pixels, others=others, assets=assets, decision=decision, warn=self._warn
            )
            results.append(pixels.apply(picture, step, context))
        gain_map = frames.gain_map
        if gain_map:
            gain_map = pixels.apply(gain_map, step, context) if operation.moves_only(step) else None
        return replace(frames, pictures=tuple(results), gain_map=gain_map)

    def _warn(self, warning: TransformWarning) -> None:
        self.warnings[warning] = None

    def _input(self, name: str, step: Step) -> Frames:
        """Return a result that the step reads, and drop it after its last use."""
        return self._results.pop(name) if self.plan.is_last_use(name, step) else self._results[name]

    def _decode(self, source: SourceImage) -> Frames:
        gain_map = source.gain_map(self._limits.max_jpeg_scans) if self.plan.keeps_gain_map else None
        decoded = self._keep_shared(
            SOURCE, source.decode(self.plan.shrink, self.plan.box, wide=SOURCE in self.plan.wide)
        )
        decoded = replace(decoded, gain_map=gain_map)
        self._has_gain_map |= gain_map is not None
        if not self.plan.shared(SOURCE):
            return decoded
        return decoded.map(lambda picture: Pyramid(picture.image, picture.size, picture.extent, picture.target))

    def _keep_shared(self, name: str, frames: Frames) -> Frames:
        return frames.map(Picture.materialized) if self.plan.shared(name) else frames

    def _write(self, step: Step, frames: Frames) -> RenderedOutput:
        offset, format_ = self._bytes, FORMATS[self.plan.formats[step.id]]
        shown = frames if format_.animation else frames.poster()
        if step.metadata is MetadataChoice.ALL and step.id in self.plan.hidden:
            step = step.model_copy(update={"metadata": MetadataChoice.COPYRIGHT})
        if self._has_gain_map and step.hdr is HdrChoice.KEEP and not (shown.gain_map and format_.gain_maps):
            self._warn(TransformWarning(code=WarningCode.GAIN_MAP_DROPPED, message=_GAIN_MAP_DROPPED, step_id=step.id))
        encode(shown, step, format_, self._output, self._metadata)
        self._bytes = os.fstat(self._output).st_size
        if self._bytes > self._limits.max_output_bytes:
            raise OutputTooLargeError("The outputs exceed the byte limit", step_id=step.id)
        size = frames.first.size
        return RenderedOutput(
            step_id=step.id,
            format=format_.name,
            width=size.width,
            height=size.height,
            offset=offset,
            bytes=self._bytes - offset,
        )
