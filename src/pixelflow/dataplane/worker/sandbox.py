"""A worker's pool of transform children, and the slots that limit concurrent transforms.

Each child runs one transform at a time and is replaced when it dies. A caller waits for a slot before it transforms.
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
from pixelflow.dataplane.worker.exchange import CopiedOutput

MAX_TRANSFORMS = 1000
"""Transforms after which a child is replaced, so that memory leaks of libraries do not accumulate."""
_CHILD_ERRORS: dict[str, type[errors.JobError]] = {
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
    """A source and the steps to apply to it."""

    source: Path
    """Moved into the child's folder by the transform."""
    steps: Sequence[Step]
    limits: TransformLimits


@dataclass(frozen=True)
class Transformed:
    """The result of a transform."""

    source: RenderedSource
    outputs: list[CopiedOutput]
    """In pipeline order."""
    times: list[StepTime]
    """Step times as reported by the child; not trustworthy."""
    compute_time_ms: int
    """CPU time of the child for this transform, as accounted by the kernel; at least 1."""

    def close(self) -> None:
        """Close the contents of all outputs."""
        for output in self.outputs:
            output.content.close()


CancelHook = Callable[[], None]
"""Cancels a running transform by killing its child."""
SetCancelHook = Callable[[CancelHook | None], None]
"""Receives the hook when a transform starts, and ``None`` when it ends."""


class Sandbox:
    """The pool of children and the semaphore that limits them."""

    def __init__(
        self,
        *,
        slots: int,
        limits: ChildLimits,
        scratch: Path,
        program: Sequence[str] = PROGRAM,
        child_started: Callable[[], None] = lambda: None,
    ) -> None:
        """Start no child yet; ``child_started`` is called for each child that starts."""
        self._child_started = child_started
        self._limits = limits
        self._scratch = scratch
        self._program = program
        self._slots = threading.BoundedSemaphore(slots)
        self._active = 0
        self._idle: list[ChildProcess] = []
        self._lock = threading.Lock()
        # The kernel kills a child when the thread that started it ends; this thread lives as long as the worker.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox")

    def start(self) -> None:
        """Start one child, so that a worker whose children can't start fails at once.

        Raises:
            ChildDiedError, ChildTimedOutError: the child did not start.
        """
        self._idle.append(self._new_child())

    def close(self) -> None:
        """Close idle children; all others are killed when the thread that started them ends."""
        with self._lock:
            children, self._idle = self._idle, []
        for child in children:
            child.close()
        self._starter.shutdown()

    @contextmanager
    def slot(self) -> Iterator[Callable[[TransformJob, SetCancelHook], Transformed]]:
        """Wait for a slot and yield the function that transforms in it, which raises a ``JobError`` on failure."""
        with self._slots:
            self._count_active(1)
            try:
                yield self._transform
            finally:
                self._count_active(-1)

    @property
    def active(self) -> int:
        """Number of slots in use."""
        return self._active

    def _count_active(self, change: int) -> None:
        with self._lock:
            self._active += change

    def _transform(self, job: TransformJob, set_cancel_hook: SetCancelHook) -> Transformed:
        child = self._acquire_child()
        try:
            result = self._transform_in(child, job, set_cancel_hook)
        except BaseException:
            child.close()
            raise
        self._release_child(child)
        if isinstance(result, Refused):
            raise _to_job_error(result)
        return result

    def _transform_in(
        self, child: ChildProcess, job: TransformJob, set_cancel_hook: SetCancelHook
    ) -> Transformed | Refused:
        exchange = child.exchange
        exchange.put_source(job.source)
        request = TransformRequest(
            source=exchange.source,
            directory=exchange.outputs,
            pipeline=list(job.steps),
            limits=job.limits,
        )
        try:
            with self._map_child_errors(child), _cancel_hook(child, set_cancel_hook):
                before = child.cpu_seconds()
                reply = child.transform(request)
                cpu_seconds = child.cpu_seconds() - before
            if isinstance(reply, Refused):
                return reply
            outputs = exchange.read_outputs(reply, job.steps, job.limits, self._scratch)
            return Transformed(reply.source, outputs, reply.times, compute_time_ms=max(1, round(cpu_seconds * 1000)))
        finally:
            exchange.reset()

    @contextmanager
    def _map_child_errors(self, child: ChildProcess) -> Iterator[None]:
        try:
            yield
        except ChildTimedOutError as error:
            raise errors.TransformTimeoutError(
                f"The transform exceeded the time limit of {self._limits.seconds:g} s"
            ) from error
        except ChildDiedError as error:
            _log.warning("transform child died", pid=child.pid, reason=str(error))
            raise errors.TransformCrashedError("The transform process died") from error

    def _acquire_child(self) -> ChildProcess:
        while (idle := self._pop_idle()) is not None:
            if idle.usable:
                return idle
            idle.close()
        try:
            return self._new_child()
        except (ChildDiedError, ChildTimedOutError) as error:
            _log.warning("transform child failed to start", reason=str(error))
            raise errors.WorkerUnavailableError("The transform process could not be started") from error

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

    def _release_child(self, child: ChildProcess) -> None:
        if child.transforms >= MAX_TRANSFORMS or not child.usable:
            child.close()
            return
        with self._lock:
            self._idle.append(child)


@contextmanager
def _cancel_hook(child: ChildProcess, set_cancel_hook: SetCancelHook) -> Iterator[None]:
    set_cancel_hook(child.kill)
    try:
        yield
    finally:
        set_cancel_hook(None)


def _to_job_error(reply: Refused) -> errors.JobError:
    error_class = _CHILD_ERRORS.get(reply.code)
    if error_class is None:
        return errors.TransformCrashedError("The transform process sent an invalid reply")
    return error_class(reply.detail, step_id=reply.step_id)
