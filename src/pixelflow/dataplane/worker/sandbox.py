"""The transform children of a worker: a fixed number, one transform each at a time, replaced when they die.

This is where «at most so many pictures at the same time» is kept: whoever wants to transform waits for a slot.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from pixelflow.contracts import errors
from pixelflow.contracts.pipeline import Step
from pixelflow.dataplane.protocol import Refused, RenderedSource, StepTime, TransformLimits, TransformRequest
from pixelflow.dataplane.worker.child_process import (
    PROGRAM,
    ChildDiedError,
    ChildLimits,
    ChildProcess,
    ChildTimedOutError,
)
from pixelflow.dataplane.worker.exchange import CollectedOutput

MAX_TRANSFORMS = 1000
"""A child is replaced after so many: what a library leaks does not add up."""
_REFUSALS: dict[str, type[errors.JobError]] = {
    cls.code: cls
    for cls in (
        errors.UnsupportedFormatError,
        errors.UndecodableError,
        errors.TooManyPixelsError,
        errors.OutputTooLargeError,
        errors.StepFailedError,
        errors.OutOfMemoryError,
        errors.TransformCrashedError,
    )
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TransformJob:
    """What is to be transformed, and where to."""

    source: Path
    """Handed to the child, and gone from here."""
    steps: Sequence[Step]
    limits: TransformLimits


@dataclass(frozen=True)
class Transformed:
    """What came of it."""

    source: RenderedSource
    outputs: list[CollectedOutput]
    """In the pipeline's order."""
    times: list[StepTime]
    """What the child says of its steps; it may say anything."""
    compute_time_ms: int
    """Processor time of the child for this transform, as the kernel counts it; at least 1."""

    def close(self) -> None:
        """Let go of the outputs' content."""
        for output in self.outputs:
            output.content.close()


OnChild = Callable[[Callable[[], None] | None], None]
"""Is told how to kill the child that is at work, and ``None`` when there is none any more."""


class Sandbox:
    """The children, and the semaphore around them."""

    def __init__(
        self,
        *,
        slots: int,
        limits: ChildLimits,
        scratch: Path,
        program: Sequence[str] = PROGRAM,
        child_started: Callable[[], None] = lambda: None,
    ) -> None:
        """Start nothing yet; ``child_started`` is told of each child that is started."""
        self._child_started = child_started
        self._limits = limits
        self._scratch = scratch
        self._program = program
        self._slots = threading.BoundedSemaphore(slots)
        self._active = 0
        self._idle: list[ChildProcess] = []
        self._lock = threading.Lock()
        # The kernel kills a child when the thread that started it ends; this one lives as long as the worker.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox")

    def start(self) -> None:
        """Start one child, so that a worker whose children can't start says so at once.

        Raises:
            ChildDiedError, ChildTimedOutError: it can't.
        """
        self._idle.append(self._new_child())

    def close(self) -> None:
        """End the idle children, and with the thread that started them all others."""
        with self._lock:
            children, self._idle = self._idle, []
        for child in children:
            child.close()
        self._starter.shutdown()

    @contextmanager
    def slot(self) -> Iterator[Callable[[TransformJob, OnChild], Transformed]]:
        """Wait for a slot; gives the function that transforms in it, which raises a ``JobError`` if it can't."""
        with self._slots:
            self._count_active(1)
            try:
                yield self._transform
            finally:
                self._count_active(-1)

    @property
    def active(self) -> int:
        """How many slots are taken."""
        return self._active

    def _count_active(self, change: int) -> None:
        with self._lock:
            self._active += change

    def _transform(self, assignment: TransformJob, on_child: OnChild) -> Transformed:
        child = self._take()
        try:
            result = self._asked(child, assignment, on_child)
        except BaseException:
            child.close()
            raise
        self._give_back(child)
        if isinstance(result, Refused):
            raise _refusal(result)
        return result

    def _asked(self, child: ChildProcess, assignment: TransformJob, on_child: OnChild) -> Transformed | Refused:
        handover = child.handover
        handover.give(assignment.source)
        request = TransformRequest(
            source=handover.source,
            directory=handover.outputs,
            pipeline=list(assignment.steps),
            limits=assignment.limits,
        )
        try:
            with self._deaths_told(child), _killable(child, on_child):
                before = child.cpu_seconds()
                reply = child.ask(request)
                spent = child.cpu_seconds() - before
            if isinstance(reply, Refused):
                return reply
            outputs = handover.collect(reply, assignment.steps, assignment.limits, self._scratch)
            return Transformed(reply.source, outputs, reply.times, compute_time_ms=max(1, round(spent * 1000)))
        finally:
            handover.clear()

    @contextmanager
    def _deaths_told(self, child: ChildProcess) -> Iterator[None]:
        try:
            yield
        except ChildTimedOutError as error:
            raise errors.TransformTimeoutError(f"The transform took more than {self._limits.seconds:g} s") from error
        except ChildDiedError as error:
            _log.warning("transform child died", pid=child.pid, reason=str(error))
            raise errors.TransformCrashedError("The process that transformed the picture died") from error

    def _take(self) -> ChildProcess:
        while (idle := self._pop_idle()) is not None:
            if idle.usable:
                return idle
            idle.close()
        try:
            return self._new_child()
        except (ChildDiedError, ChildTimedOutError) as error:
            _log.warning("transform child did not start", reason=str(error))
            raise errors.TransformCrashedError("The process that transforms pictures could not start") from error

    def _pop_idle(self) -> ChildProcess | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _new_child(self) -> ChildProcess:
        child = self._starter.submit(ChildProcess, self._limits, self._scratch, self._program).result()
        self._child_started()
        try:
            child.wait_ready()
        except BaseException:
            child.close()
            raise
        return child

    def _give_back(self, child: ChildProcess) -> None:
        if child.transforms >= MAX_TRANSFORMS or not child.usable:
            child.close()
            return
        with self._lock:
            self._idle.append(child)


@contextmanager
def _killable(child: ChildProcess, on_child: OnChild) -> Iterator[None]:
    on_child(child.kill)
    try:
        yield
    finally:
        on_child(None)


def _refusal(reply: Refused) -> errors.JobError:
    known = _REFUSALS.get(reply.code)
    if known is None:
        return errors.TransformCrashedError("The process that transformed the picture gave no usable answer")
    return known(reply.detail, step_id=reply.step_id)
