"""One transform child, seen from the worker: forked by the template, used over a socket, killed at its deadline.

Nothing that a child sends may be trusted, and nothing that it does may block the worker.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from pixelflow.dataplane.worker.template import (
    START_TIMEOUT_SECONDS,
    ChildDiedError,
    ChildLimits,
    ChildTimedOutError,
    ErrorPipe,
    Exit,
    Template,
    TemplateDiedError,
)
from pixelflow.imaging.protocol import PROCEED, REPLY, Planned, Refused, Rendered, TransformRequest

MAX_REPLY_BYTES = 256 * 1024
MAX_TRANSFORMS = 1000
"""Transforms after which a child is replaced, so that memory leaks of libraries do not accumulate."""
_READ_BYTES = 64 * 1024
_END_SECONDS = 30.0
"""Time that a killed child has to end."""
_IDLE_CPU_SECONDS = 0.001
"""CPU time that a child may use between two transforms: to get back to waiting for a request."""


class ChildProcess:
    """One child process. It serves one user, from its first transform until it ends."""

    def __init__(self, template: Template, limits: ChildLimits) -> None:
        """Fork the child; it is ready after ``wait_ready``.

        Raises:
            ChildDiedError: the template could not fork it.
            OSError: the worker lacks descriptors.
        """
        self.user_id: str | None = None
        self.idle_since = 0.0
        self.transforms = 0
        self._template = template
        self._limits = limits
        self._killed = False
        self._closed = False
        self._exit: Exit | None = None
        self._settled_cpu = 0.0
        self._output: IO[bytes] | None = None
        with ExitStack() as undo:
            self._errors = ErrorPipe()
            undo.callback(self._errors.close)
            try:
                self._socket, theirs = socket.socketpair()
                undo.callback(self._socket.close)
                self._socket.setblocking(False)
                with theirs:
                    self.pid = template.fork(theirs, self._errors)
            finally:
                self._errors.close_writer()
            self._pidfd = self._open_pidfd()
            undo.pop_all()

    def _open_pidfd(self) -> int:
        try:
            return os.pidfd_open(self.pid)  # the process id is still the child's: the template has not reaped it
        except ProcessLookupError as error:
            raise TemplateDiedError("the child ended with its template") from error
        except OSError:
            with suppress(OSError, ChildDiedError):
                os.kill(self.pid, signal.SIGKILL)
                self._template.reap(self.pid)  # nothing to wait for: the child has used no memory yet
            raise

    def output(self, scratch: Path) -> int:
        """Return the descriptor of the unnamed file in ``scratch`` that takes the outputs of each job of this child.

        Raises:
            OSError: it can't be created.
        """
        if self._output is None:
            self._output = tempfile.TemporaryFile(dir=scratch, buffering=0)  # noqa: SIM115  # closed by `close`
        return self._output.fileno()

    @property
    def template_alive(self) -> bool:
        """Whether the child's template runs. If it does not, the kernel has killed the child."""
        return self._template.alive

    @property
    def killed(self) -> bool:
        """Whether the worker has killed it, which takes effect a moment later."""
        return self._killed

    @property
    def usable(self) -> bool:
        """Whether the child can take a request: alive, within its limits, and still since its last transform.

        A child without a user has read no image that could have taken it over: it may still be on its way to waiting.
        """
        if self._killed or self.transforms >= MAX_TRANSFORMS or not self.template_alive or self._has_exited(0):
            return False
        try:
            used = self.cpu_seconds()
        except (ChildDiedError, ChildTimedOutError):
            return False
        still = self.user_id is None or used - self._settled_cpu <= _IDLE_CPU_SECONDS
        return still and used < self._limits.cpu_seconds

    def settle(self) -> None:
        """Note the CPU time from which on the idle child must use no more."""
        self.idle_since = time.monotonic()
        with suppress(ChildDiedError, ChildTimedOutError):  # `usable` will find out
            self._settled_cpu = self.cpu_seconds()

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the child has used so far in all its threads, as accounted by the kernel.

        Raises:
            ChildDiedError: the child has exited, and how much it used is unknown.
            ChildTimedOutError: the same, and it used up its CPU time.
        """
        if self._exit is not None:
            return self._exit.cpu_seconds
        if self._closed:  # its process id may be another process's by now
            raise ChildDiedError("closed, and not reaped")
        try:  # the clock id of clock_getcpuclockid(3): the kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError as error:
            raise self._exit_error() from error

    def wait_ready(self) -> None:
        """Wait until the child has confined itself.

        Raises:
            ChildTimedOutError: it was not ready in time.
            ChildDiedError: it exited or sent something else.
        """
        line = self._read_line(time.monotonic() + START_TIMEOUT_SECONDS)
        if line != b"ready":
            raise ChildDiedError(f"unexpected first line: {line[:100]!r}")
        self.settle()

    def transform(
        self, request: TransformRequest, descriptors: list[int], admit: Callable[[int], None]
    ) -> Rendered | Refused:
        """Send a request, wait for the plan, then for memory, then for the reply.

        Args:
            request: what to do.
            descriptors: of the source, of an empty file to which the child appends outputs, and of the assets.
            admit: waits until the estimated memory, in bytes, is free; its time does not count.

        Raises:
            ChildTimedOutError: the time limit passed.
            ChildDiedError: the child exited, or its reply is not valid.
        """
        self.transforms += 1
        deadline = time.monotonic() + self._limits.seconds
        # Only what was set: some fields of a step exclude each other, whatever their value.
        line = request.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        self._write(line, deadline, descriptors)
        reply = self._read_reply(request, deadline)
        if isinstance(reply, Refused):
            return reply
        if not isinstance(reply, Planned):
            raise ChildDiedError("sent an invalid reply")
        planned = time.monotonic()
        admit(reply.memory_bytes)
        deadline += time.monotonic() - planned
        self._write(PROCEED, deadline)
        reply = self._read_reply(request, deadline)
        if isinstance(reply, Planned):
            raise ChildDiedError("sent an invalid reply")
        return reply

    def _read_reply(self, request: TransformRequest, deadline: float) -> Planned | Rendered | Refused:
        try:
            reply = REPLY.validate_json(self._read_line(deadline))
        except ValidationError as error:
            raise ChildDiedError("sent an invalid reply") from error
        if reply.request_id != request.request_id:
            raise ChildDiedError("sent a reply to another request")
        return reply

    def _write(self, line: bytes, deadline: float, descriptors: list[int] | None = None) -> None:
        remaining = memoryview(line)
        while remaining:
            _wait(self._socket, select.POLLOUT, deadline)
            try:
                sent = socket.send_fds(self._socket, [remaining], descriptors or [])
            except OSError as error:
                raise self._exit_error() from error
            remaining, descriptors = remaining[sent:], None

    def _read_line(self, deadline: float) -> bytes:
        received = bytearray()
        while not received.endswith(b"\n"):
            _wait(self._socket, select.POLLIN, deadline)
            try:
                chunk = self._socket.recv(_READ_BYTES)  # the kernel drops descriptors that a child may have attached
            except OSError as error:
                raise self._exit_error() from error
            received += chunk
            if not chunk or len(received) > MAX_REPLY_BYTES or b"\n" in chunk[:-1]:
                raise self._exit_error()
        return bytes(received[:-1])

    def kill(self) -> None:
        """Kill the child. Thread-safe; may be called at any time before ``close``, repeatedly."""
        self._killed = True
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Kill the child, wait for it for at most 30 s, and close its descriptors."""
        self.kill()
        if self._has_exited(_END_SECONDS):  # the template must not wait while the kernel frees the child's memory
            try:
                self._reap()
            except ChildDiedError:
                self._reap_orphan()
        self._closed = True
        self._socket.close()
        self._errors.close()
        if self._output is not None:
            self._output.close()
        os.close(self._pidfd)

    def _reap(self) -> Exit:
        if self._exit is None:
            self._exit = self._template.reap(self.pid)
        return self._exit

    def _reap_orphan(self) -> None:
        """Wait for a child whose template has died: it is the worker's if that is process 1, as in a container."""
        self._template.wait(_END_SECONDS)
        with suppress(ChildProcessError):  # it is another process's, which waits for it
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)

    def _has_exited(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _exit_error(self) -> ChildDiedError | ChildTimedOutError:
        if not self._has_exited(1):
            return ChildDiedError("closed its socket or sent too much data")
        code = self._reap().code
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and not self._killed and self._has_used_up_its_time()):
            return ChildTimedOutError("used up its CPU time")
        reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        stderr = self._errors.read()
        return ChildDiedError(f"{reason}: {stderr}", signal=-code if code < 0 else None, stderr=stderr)

    def _has_used_up_its_time(self) -> bool:
        return self._reap().cpu_seconds >= self._limits.cpu_seconds


def _wait(socket_: socket.socket, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(socket_, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise ChildTimedOutError("deadline passed")
