"""One transform child, seen from the worker: started with a bare environment, used over pipes, killed at its deadline.

Nothing that a child sends may be trusted, and nothing that it does may block the worker.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pixelflow.dataplane.protocol import REPLY, Refused, Rendered, TransformRequest
from pixelflow.dataplane.worker.exchange import Exchange

START_TIMEOUT_SECONDS = 30.0
MAX_REPLY_BYTES = 256 * 1024
PROGRAM = ("-m", "pixelflow.dataplane.child.main")
_READ_BYTES = 64 * 1024
_STDERR_TAIL_BYTES = 2000


class ChildTimedOutError(Exception):
    """The deadline passed, or the child used up its CPU time."""


class ChildDiedError(Exception):
    """The child exited, or sent an invalid reply."""


@dataclass(frozen=True)
class ChildLimits:
    """Resource limits of one child."""

    memory_bytes: int
    seconds: float
    """Limit of one transform, in wall-clock time and in CPU time."""


class ChildProcess:
    """One child process, with its own folder below ``scratch``."""

    def __init__(self, limits: ChildLimits, scratch: Path, program: Sequence[str] = PROGRAM) -> None:
        folder = Path(tempfile.mkdtemp(prefix="child-", dir=scratch))
        self.exchange = Exchange(folder)
        self.transforms = 0
        self._seconds = limits.seconds
        self._killed = False
        self._stderr = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  # closed by `close`
        self._process = subprocess.Popen(  # noqa: S603  # fixed program
            _command(limits, folder, program),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2", "TMPDIR": str(folder)},
            cwd=folder,
            start_new_session=True,  # keep Ctrl-C of a terminal from children: the worker decides when they end
        )
        assert self._process.stdin is not None  # noqa: S101  # PIPE above
        assert self._process.stdout is not None  # noqa: S101
        self._requests, self._replies = self._process.stdin, self._process.stdout
        os.set_blocking(self._requests.fileno(), False)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether the child is alive, was not killed (which takes effect a moment later), and left no files behind."""
        return not self._killed and self._process.poll() is None and self.exchange.is_empty

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the child has used so far in all its threads, as accounted by the kernel.

        Raises:
            ChildDiedError: the child has exited.
        """
        try:  # the clock id of clock_getcpuclockid(3): the kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError as error:
            raise self._exit_error() from error

    def wait_ready(self) -> None:
        """Wait until the child has loaded libvips and confined itself.

        Raises:
            ChildTimedOutError: it was not ready in time.
            ChildDiedError: it exited or sent something else.
        """
        line = self._read_line(time.monotonic() + START_TIMEOUT_SECONDS)
        if line != b"ready":
            raise ChildDiedError(f"unexpected first line: {line[:100]!r}")

    def transform(self, request: TransformRequest) -> Rendered | Refused:
        """Send a request and wait for the reply.

        Raises:
            ChildTimedOutError: the time limit passed.
            ChildDiedError: the child exited, or its reply is not valid.
        """
        self.transforms += 1
        deadline = time.monotonic() + self._seconds
        self._write(request.model_dump_json(by_alias=True).encode() + b"\n", deadline)
        try:
            return REPLY.validate_json(self._read_line(deadline))
        except ValidationError as error:
            raise ChildDiedError("sent an invalid reply") from error

    def _write(self, line: bytes, deadline: float) -> None:
        remaining = memoryview(line)
        while remaining:
            _wait(self._requests.fileno(), select.POLLOUT, deadline)
            try:
                remaining = remaining[os.write(self._requests.fileno(), remaining) :]
            except BrokenPipeError as error:
                raise self._exit_error() from error

    def _read_line(self, deadline: float) -> bytes:
        received = bytearray()
        while not received.endswith(b"\n"):
            _wait(self._replies.fileno(), select.POLLIN, deadline)
            chunk = os.read(self._replies.fileno(), _READ_BYTES)
            received += chunk
            if not chunk or len(received) > MAX_REPLY_BYTES:
                raise self._exit_error()
        return bytes(received[:-1])

    def kill(self) -> None:
        """Kill the child. Thread-safe; may be called at any time, repeatedly."""
        self._killed = True
        self._process.kill()

    def close(self) -> None:
        """Kill the child, wait for it, close its pipes and remove its folder."""
        self.kill()
        self._process.wait()
        for pipe in (self._requests, self._replies, self._stderr):
            with suppress(BrokenPipeError):  # data that the child did not read
                pipe.close()
        self.exchange.close()

    def _exit_error(self) -> ChildDiedError | ChildTimedOutError:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return ChildDiedError("closed its pipe or sent too much data")
        if code == -signal.SIGXCPU:
            return ChildTimedOutError("used up its CPU time")
        reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return ChildDiedError(f"{reason}: {self._stderr_tail()}")

    def _stderr_tail(self) -> str:
        """Return the end of the child's stderr, for logs only: it must never reach a client."""
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_TAIL_BYTES))
        return self._stderr.read(_STDERR_TAIL_BYTES).decode(errors="replace").strip()


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise ChildTimedOutError("deadline passed")


def _command(limits: ChildLimits, folder: Path, program: Sequence[str]) -> list[str]:
    return [
        sys.executable,
        "-I",
        *program,
        f"--parent={os.getpid()}",
        f"--memory-bytes={limits.memory_bytes}",
        f"--cpu-seconds={int(limits.seconds) + 1}",
        f"--folder={folder}",
    ]
