"""A worker's transforms: slots that limit concurrent ones, memory that they share, and children that run them.

A caller waits for a slot before it transforms. A transform that waits for memory gives its slot away meanwhile.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from pixelflow import errors
from pixelflow.dataplane.worker.admission import MIN_TRANSFORM_BYTES, CrashBudget, MemoryBudget, default_memory
from pixelflow.dataplane.worker.child_process import ChildProcess
from pixelflow.dataplane.worker.children import Children, Isolation
from pixelflow.dataplane.worker.crashes import job_error
from pixelflow.dataplane.worker.exchange import CopiedOutput, Exchange
from pixelflow.dataplane.worker.template import (
    PROGRAM,
    ChildDiedError,
    ChildLimits,
    ChildTimedOutError,
    TemplateDiedError,
)
from pixelflow.imaging.protocol import (
    Refused,
    RenderedSource,
    RequestedAsset,
    StepTime,
    TransformLimits,
    TransformRequest,
    TransformWarning,
)
from pixelflow.imaging.source_options import SourceOptions
from pixelflow.imaging.step import Step

_CHILD_ERRORS: dict[str, type[errors.JobError]] = {
    cls.code: cls
    for cls in (
        errors.UnsupportedFormatError,
        errors.UndecodableError,
        errors.TooManyPixelsError,
        errors.TooManyScansError,
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
    steps: Sequence[Step]
    limits: TransformLimits
    user_id: str
    """The user whom the child may serve."""
    assets: Mapping[str, Path] = field(default_factory=dict)
    """The user's assets by the names that the steps use."""
    options: SourceOptions = field(default_factory=SourceOptions)
    """How to read the source."""


@dataclass(frozen=True)
class Transformed:
    """The result of a transform."""

    source: RenderedSource
    outputs: list[CopiedOutput]
    """In pipeline order."""
    times: list[StepTime]
    """Step times as reported by the child; not trustworthy."""
    warnings: list[TransformWarning]
    """As reported by the child."""
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
    """The children and the semaphore and memory that limit them."""

    def __init__(
        self,
        *,
        slots: int,
        limits: ChildLimits,
        scratch: Path,
        isolation: Isolation = Isolation.USER,
        memory_bytes: int | None = None,
        program: Sequence[str] = PROGRAM,
        child_started: Callable[[], None] = lambda: None,
        on_confinement: Callable[[Mapping[str, bool]], None] = lambda _: None,
    ) -> None:
        """Start no child yet.

        Args:
            slots: number of concurrent transforms.
            limits: of each child.
            scratch: folder for outputs in progress.
            isolation: what a child serves.
            memory_bytes: that all transforms may use together; default: by the machine or container.
            program: arguments of the Python interpreter that starts the template.
            child_started: called for each child that starts.
            on_confinement: called with the parts of the confinement that are in force, again after a restart.
        """
        self.children = Children(
            limits,
            scratch,
            isolation=isolation,
            max_idle=slots,
            program=program,
            on_start=child_started,
            on_confinement=on_confinement,
        )
        self._limits = limits
        self._scratch = scratch
        self._slots = threading.BoundedSemaphore(slots)
        self._memory = MemoryBudget(memory_bytes or default_memory())
        self._crashes = CrashBudget()
        self._active = 0
        self._lock = threading.Lock()

    def start(self, *, require_confinement: bool = False) -> None:
        """Start one child, so that a worker whose children can't start fails at once.

        Raises:
            ChildDiedError, ChildTimedOutError: the child did not start.
            ConfinementMissingError: a part of the confinement is required and not available.
        """
        self.children.start(require_confinement=require_confinement)

    def close(self) -> None:
        """End all children."""
        self.children.close()

    @contextmanager
    def slot(self) -> Iterator[Callable[[TransformJob, SetCancelHook], Transformed]]:
        """Wait for a slot and yield the function that transforms in it, which raises a ``JobError`` on failure.

        The error's ``compute_time_ms`` is the CPU time that the failed transform used. The function raises a
        ``WorkerUnavailableError`` or an ``OSError`` if the worker lacks something, such as disk space.
        """
        self._take_slot()
        try:
            yield self._transform
        finally:
            self._leave_slot()

    @property
    def active(self) -> int:
        """Number of slots in use."""
        return self._active

    def _take_slot(self) -> None:
        self._slots.acquire()
        with self._lock:
            self._active += 1

    def _leave_slot(self) -> None:
        with self._lock:
            self._active -= 1
        self._slots.release()

    def _transform(self, job: TransformJob, set_cancel_hook: SetCancelHook) -> Transformed:
        if (seconds := self._crashes.seconds_to_wait(job.user_id)) > 0:
            raise errors.TransformPostponedError(
                f"Too many of this user's images crashed the transform process; the next can run in {seconds:.0f} s",
                retry_after_seconds=seconds,
            )
        child = self.children.take(job.user_id)
        before = 0.0
        try:
            with self._map_child_errors(child, job.user_id):
                before = child.cpu_seconds()
            result = self._transform_in(child, before, job, set_cancel_hook)
        except BaseException as error:
            child.close()
            if isinstance(error, errors.JobError):
                error.compute_time_ms = _milliseconds(child, before)
            raise
        milliseconds = _milliseconds(child, before)
        self.children.put_back(child)
        if isinstance(result, Refused):
            raise _to_job_error(result, milliseconds)
        return result

    def _transform_in(
        self, child: ChildProcess, before: float, job: TransformJob, set_cancel_hook: SetCancelHook
    ) -> Transformed | Refused:
        request = TransformRequest(
            request_id=secrets.token_hex(8),
            pipeline=list(job.steps),
            source=job.options,
            limits=job.limits,
            assets=[RequestedAsset(name=name) for name in job.assets],
        )
        files = Exchange([job.source, *job.assets.values()], child.output(self._scratch), self._scratch)
        with closing(files) as exchange, self._admission(child) as admit:
            with self._map_child_errors(child, job.user_id), self._cancel_hook(child, set_cancel_hook):
                reply = child.transform(request, exchange.descriptors, admit)
            if isinstance(reply, Refused):
                if reply.code == errors.WorkerUnavailableError.code and exchange.disk_is_full:  # the child may lie
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if reply.code not in _CHILD_ERRORS:
                    raise errors.TransformCrashedError("The transform process sent an invalid reply")
                return reply
            outputs = exchange.read_outputs(reply, job.steps, job.limits)
            return Transformed(
                reply.source, outputs, reply.times, reply.warnings, compute_time_ms=_milliseconds(child, before)
            )

    @contextmanager
    def _admission(self, child: ChildProcess) -> Iterator[Callable[[int], None]]:
        """Yield the function that waits for memory, which is free again when the context exits."""
        taken = 0

        def admit(size: int) -> None:
            nonlocal taken
            size = max(MIN_TRANSFORM_BYTES, min(size, self._limits.memory_bytes))  # the child may lie
            if not self._memory.try_acquire(size):
                self._wait_for_memory(child, size)
            taken = size

        try:
            yield admit
        finally:
            if taken:
                self._memory.release(taken)

    def _wait_for_memory(self, child: ChildProcess, size: int) -> None:
        self._leave_slot()  # so that smaller pictures can pass
        try:
            if not self._memory.acquire(size, canceled=lambda: child.killed):
                raise ChildDiedError("canceled while it waited for memory")
        finally:
            self._take_slot()

    @contextmanager
    def _map_child_errors(self, child: ChildProcess, user_id: str) -> Iterator[None]:
        try:
            yield
        except ChildTimedOutError as error:
            raise errors.TransformTimeoutError(
                f"The transform exceeded the time limit of {self._limits.seconds:g} s"
            ) from error
        except ChildDiedError as error:
            _log.warning("transform child died", pid=child.pid, reason=str(error))
            without_template = isinstance(error, TemplateDiedError) or not child.template_alive
            if without_template and not child.killed:
                raise errors.WorkerUnavailableError("The transform process ended with its template") from error
            failure = job_error(error)
            if isinstance(failure, errors.TransformCrashedError) and not child.killed:
                self._crashes.count(user_id)
            raise failure from error

    @contextmanager
    def _cancel_hook(self, child: ChildProcess, set_cancel_hook: SetCancelHook) -> Iterator[None]:
        def cancel() -> None:
            child.kill()
            self._memory.wake()

        set_cancel_hook(cancel)
        try:
            yield
        finally:
            set_cancel_hook(None)


def _milliseconds(child: ChildProcess, before: float) -> int:
    try:
        return max(1, round((child.cpu_seconds() - before) * 1000))
    except (ChildDiedError, ChildTimedOutError):
        return 1


def _to_job_error(reply: Refused, milliseconds: int) -> errors.JobError:
    error = _CHILD_ERRORS[reply.code](reply.detail, step_id=reply.step_id)
    error.compute_time_ms = milliseconds
    return error
