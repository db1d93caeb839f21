"""A transform child as its worker sees it: started bare, asked over a pipe, killed when it should be.

Nothing that it says is trusted, and nothing it does may hold the worker.
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

START_SECONDS = 30.0
MAX_REPLY_BYTES = 256 * 1024
PROGRAM = ("-m", "pixelflow.dataplane.child.main")
_READ_BYTES = 64 * 1024
_LAST_WORDS_BYTES = 2000


class ChildTimedOutError(Exception):
    """The deadline passed, or the processor time was used up."""


class ChildDiedError(Exception):
    """The child ended, or said what no child says."""


@dataclass(frozen=True)
class ChildLimits:
    """What one child may use."""

    memory_bytes: int
    seconds: float
    """Of one transform: of the clock, and of processor time."""


class ChildProcess:
    """One process, with a folder of its own below ``scratch``."""

    def __init__(self, limits: ChildLimits, scratch: Path, program: Sequence[str] = PROGRAM) -> None:
        folder = Path(tempfile.mkdtemp(prefix="child-", dir=scratch))
        self.handover = Exchange(folder)
        self.transforms = 0
        self._seconds = limits.seconds
        self._killed = False
        self._errors = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  # closed with the child
        self._process = subprocess.Popen(  # noqa: S603  # our own program
            _command(limits, folder, program),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2", "TMPDIR": str(folder)},
            cwd=folder,
            start_new_session=True,  # Ctrl-C on a terminal is for the worker, which decides about its children
        )
        assert self._process.stdin is not None  # noqa: S101  # pipes, as asked for above
        assert self._process.stdout is not None  # noqa: S101
        self._to, self._from = self._process.stdin, self._process.stdout
        os.set_blocking(self._to.fileno(), False)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it lives, nobody has killed it (that takes effect a moment later), and it has left nothing behind."""
        return not self._killed and self._process.poll() is None and self.handover.is_clear

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far, in all its threads, as the kernel counts it.

        Raises:
            ChildDiedError: it is no more.
        """
        try:  # the clock that clock_getcpuclockid(3) names: MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError as error:
            raise self._ended() from error

    def wait_ready(self) -> None:
        """Wait until it has loaded libvips and closed its doors.

        Raises:
            ChildTimedOutError, ChildDiedError: it has not.
        """
        line = self._read_line(time.monotonic() + START_SECONDS)
        if line != b"ready":
            raise ChildDiedError(f"unexpected greeting: {line[:100]!r}")

    def ask(self, request: TransformRequest) -> Rendered | Refused:
        """Have it transform.

        Raises:
            ChildTimedOutError: not within its time.
            ChildDiedError: it died, or its answer is not one.
        """
        self.transforms += 1
        deadline = time.monotonic() + self._seconds
        self._write(request.model_dump_json(by_alias=True).encode() + b"\n", deadline)
        try:
            return REPLY.validate_json(self._read_line(deadline))
        except ValidationError as error:
            raise ChildDiedError("answer that is none") from error

    def _write(self, line: bytes, deadline: float) -> None:
        left = memoryview(line)
        while left:
            _wait(self._to.fileno(), select.POLLOUT, deadline)
            try:
                left = left[os.write(self._to.fileno(), left) :]
            except BrokenPipeError as error:
                raise self._ended() from error

    def _read_line(self, deadline: float) -> bytes:
        received = bytearray()
        while not received.endswith(b"\n"):
            _wait(self._from.fileno(), select.POLLIN, deadline)
            chunk = os.read(self._from.fileno(), _READ_BYTES)
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
        for pipe in (self._to, self._from, self._errors):
            with suppress(BrokenPipeError):  # what a dead child did not read
                pipe.close()
        self.handover.close()

    def _ended(self) -> ChildDiedError | ChildTimedOutError:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return ChildDiedError("closed its pipe or said too much")
        if code == -signal.SIGXCPU:
            return ChildTimedOutError("used up its processor time")
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return ChildDiedError(f"{how}: {self._last_words()}")

    def _last_words(self) -> str:
        """For the log: never for a client."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _LAST_WORDS_BYTES))
        return self._errors.read(_LAST_WORDS_BYTES).decode(errors="replace").strip()


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise ChildTimedOutError("too slow")


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
