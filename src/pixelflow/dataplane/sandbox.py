"""The transform children of a worker: a fixed number, one transform each at a time, replaced when they die.

This is where «at most so many pictures at the same time» is kept: whoever wants to transform waits for a slot. A child
is killed at its deadline and when its job is no longer the worker's; nothing that it says is trusted.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from pixelflow.contracts import problems
from pixelflow.dataplane.protocol import REPLY, Done, Refused, TransformRequest

START_SECONDS = 30.0
MAX_REPLY_BYTES = 256 * 1024
MAX_TRANSFORMS = 1000
"""A child is replaced after so many: what a library leaks does not add up."""
_READ_BYTES = 64 * 1024
_REFUSALS: dict[str, type[problems.JobError]] = {
    cls.code: cls
    for cls in (
        problems.UnsupportedFormatError,
        problems.UndecodableError,
        problems.TooManyPixelsError,
        problems.OutputTooLargeError,
        problems.StepFailedError,
        problems.OutOfMemoryError,
        problems.TransformCrashedError,
    )
}

_log = structlog.get_logger(__name__)


class ChildTimedOutError(Exception):
    """The deadline passed."""


class ChildDiedError(Exception):
    """The child ended, or said what no child says."""


@dataclass(frozen=True)
class Limits:
    """What one child may use."""

    memory_bytes: int
    seconds: float
    """Of one transform: of the clock, and of processor time."""


class Child:
    """One process."""

    def __init__(self, limits: Limits, scratch: Path) -> None:
        self._errors = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  # closed with the child
        self._process = subprocess.Popen(  # noqa: S603  # our own program
            _command(limits, scratch),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2"},
            cwd=scratch,
            start_new_session=True,  # Ctrl-C on a terminal is for the worker, which decides about its children
        )
        self.transforms = 0
        self._killed = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it lives, and nobody has killed it: that takes effect a moment later."""
        return not self._killed and self._process.poll() is None

    def wait_ready(self) -> None:
        """Wait until it has loaded libvips and closed its doors.

        Raises:
            ChildTimedOutError, ChildDiedError: it has not.
        """
        line = self._read_line(time.monotonic() + START_SECONDS)
        if line != b"ready":
            raise ChildDiedError(f"unexpected greeting: {line[:100]!r}")

    def ask(self, request: TransformRequest, *, seconds: float) -> Done | Refused:
        """Have it transform.

        Raises:
            ChildTimedOutError: not within ``seconds``.
            ChildDiedError: it died, or its answer is not one.
        """
        self.transforms += 1
        assert self._process.stdin is not None  # noqa: S101  # a pipe, as asked for above
        try:
            self._process.stdin.write(request.model_dump_json(by_alias=True).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error
        line = self._read_line(time.monotonic() + seconds)
        try:
            return REPLY.validate_json(line)
        except ValidationError as error:
            raise ChildDiedError("answer that is none") from error

    def _read_line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101  # a pipe, as asked for above
        descriptor, received = self._process.stdout.fileno(), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while not received.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise ChildTimedOutError
                chunk = os.read(descriptor, _READ_BYTES)
                received += chunk
                if not chunk or len(received) > MAX_REPLY_BYTES:
                    raise self._ended()
        return bytes(received[:-1])

    def kill(self) -> None:
        """End it now. Safe from any thread, at any time."""
        self._killed = True
        self._process.kill()

    def close(self) -> None:
        """End it and let go of what it held."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with _broken_pipe_ignored():
                    pipe.close()

    def _ended(self) -> ChildDiedError | ChildTimedOutError:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return ChildDiedError("closed its pipe or said too much")
        if code == -signal.SIGXCPU:
            return ChildTimedOutError("used up its processor time")
        return ChildDiedError(self._last_words(code))

    def _last_words(self, code: int) -> str:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 2000))
        words = self._errors.read().decode(errors="replace").strip()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{how}: {words}" if words else how


@contextmanager
def _broken_pipe_ignored() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # what was not read by a dead child
        return


def _command(limits: Limits, scratch: Path) -> list[str]:
    return [
        sys.executable,
        "-I",
        "-m",
        "pixelflow.dataplane.child",
        f"--parent={os.getpid()}",
        f"--memory-bytes={limits.memory_bytes}",
        f"--cpu-seconds={int(limits.seconds) + 1}",
        f"--scratch={scratch}",
    ]


class Sandbox:
    """The children, and the semaphore around them."""

    def __init__(self, *, slots: int, limits: Limits, scratch: Path) -> None:
        self._limits = limits
        self._scratch = scratch
        self._slots = threading.BoundedSemaphore(slots)
        self._idle: list[Child] = []
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
        """End all children."""
        with self._lock:
            children, self._idle = self._idle, []
        for child in children:
            child.close()
        self._starter.shutdown()

    @contextmanager
    def slot(self) -> Iterator[Callable[..., Done]]:
        """Wait for a slot; gives the function that transforms in it."""
        with self._slots:
            yield self._transform

    def _transform(self, request: TransformRequest, *, on_child: Callable[[Callable[[], None] | None], None]) -> Done:
        """Transform in a child.

        Args:
            request: what to do.
            on_child: is told how to kill the child that does it, and ``None`` when there is none any more.

        Raises:
            JobError: what the child refused, or what became of it.
        """
        child = self._take()
        on_child(child.kill)
        try:
            reply = child.ask(request, seconds=self._limits.seconds)
        except ChildTimedOutError as error:
            child.close()
            raise problems.TransformTimeoutError(f"The transform took more than {self._limits.seconds:g} s") from error
        except ChildDiedError as error:
            _log.warning("transform child died", pid=child.pid, how=str(error))
            child.close()
            raise problems.TransformCrashedError("The process that transformed the picture died") from error
        finally:
            on_child(None)
        self._give_back(child)
        if isinstance(reply, Refused):
            raise _refusal(reply)
        return reply

    def _take(self) -> Child:
        while (idle := self._pop_idle()) is not None:
            if idle.usable:
                return idle
            idle.close()
        try:
            return self._new_child()
        except (ChildDiedError, ChildTimedOutError) as error:
            raise problems.TransformCrashedError("The process that transforms pictures could not start") from error

    def _pop_idle(self) -> Child | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _new_child(self) -> Child:
        child = self._starter.submit(Child, self._limits, self._scratch).result()
        try:
            child.wait_ready()
        except (ChildDiedError, ChildTimedOutError):
            child.close()
            raise
        return child

    def _give_back(self, child: Child) -> None:
        if child.transforms >= MAX_TRANSFORMS or not child.usable:
            child.close()
            return
        with self._lock:
            self._idle.append(child)


def _refusal(reply: Refused) -> problems.JobError:
    known = _REFUSALS.get(reply.code)
    if known is None:
        return problems.TransformCrashedError("The process that transformed the picture gave no usable answer")
    return known(reply.detail, step_id=reply.step_id)
