"""The template process, seen from the worker: started once with a bare environment, forks a child on request.

It never sees a byte of an image, so the worker trusts it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

START_TIMEOUT_SECONDS = 30.0
PROGRAM = ("-m", "pixelflow.dataplane.child.main")
NOBODY = 65534
_REPLY_BYTES = 4096
_ERROR_BYTES = 16 * 1024


class ChildTimedOutError(Exception):
    """The deadline passed, or the child used up its CPU time."""


class ChildDiedError(Exception):
    """The child exited, or sent an invalid reply."""

    def __init__(self, reason: str, *, signal: int | None = None, stderr: str = "") -> None:
        super().__init__(reason)
        self.signal = signal
        """Number of the signal that killed it, if one did."""
        self.stderr = stderr
        """What it wrote there, if it is known: not to be trusted, and never for a client."""


class TemplateDiedError(ChildDiedError):
    """The template exited, did not reply or sent an invalid reply: its children die with it."""


@dataclass(frozen=True)
class ChildLimits:
    """Resource limits of one child."""

    memory_bytes: int
    seconds: float
    """Limit of one transform, in wall-clock time and in CPU time."""
    file_bytes: int = 1_000_000_000
    """Limit of the file that holds all outputs of a job."""
    user: int = NOBODY
    """User ID that children of root change to."""

    @property
    def cpu_seconds(self) -> int:
        """CPU time of one transform in whole seconds."""
        return int(self.seconds) + 1


class Exit(NamedTuple):
    """How a child ended."""

    code: int
    """Exit code, or minus the number of the signal that killed it."""
    cpu_seconds: float


class ErrorPipe:
    """The stderr of a process: keeps the first 16 KiB; what comes after them is dropped and never blocks."""

    def __init__(self) -> None:
        self._closed = False
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with suppress(PermissionError):  # the user's pipes exceed the system's limit; the default is 64 KiB
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _ERROR_BYTES)

    def close_writer(self) -> None:
        """Close the end that the process has inherited."""
        os.close(self.writer)

    def read(self) -> str:
        """Return what the process wrote since the last call: it must never reach a client. Empty after ``close``."""
        if self._closed:
            return ""
        with suppress(BlockingIOError):
            return os.read(self._reader, _ERROR_BYTES).decode(errors="replace").strip()
        return ""

    def close(self) -> None:
        """Close the reading end."""
        self._closed = True
        os.close(self._reader)


class Template:
    """The template process. Thread-safe. The kernel kills it when the thread that started it ends."""

    def __init__(self, limits: ChildLimits, scratch: Path, program: Sequence[str] = PROGRAM) -> None:
        """Start the process; it is ready after ``wait_ready``.

        Raises:
            OSError: the worker lacks descriptors, processes or disk space.
        """
        self._lock = threading.Lock()
        self.libvips = ""
        """Version of libvips, once the template is ready."""
        self.extras: tuple[str, ...] = ()
        """Optional capabilities that it has loaded."""
        self.broken_extras: dict[str, str] = {}
        """Optional capabilities that are installed but don't load, with the reasons."""
        with ExitStack() as undo, ExitStack() as inherited:
            self._errors = ErrorPipe()
            undo.callback(self._errors.close)
            inherited.callback(self._errors.close_writer)
            self._fonts = Path(tempfile.mkdtemp(prefix="fonts-", dir=scratch))
            undo.callback(_remove, self._fonts)
            if os.geteuid() == 0:  # for the children's other user: to pass through, and to read fonts
                scratch.chmod(0o711)
                self._fonts.chmod(0o755)
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self._socket.close)
            inherited.enter_context(theirs)
            self._socket.settimeout(START_TIMEOUT_SECONDS)
            self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603  # fixed program
                _command(limits, self._fonts, program),
                stdin=theirs.fileno(),
                stdout=self._errors.writer,
                stderr=self._errors.writer,
                env={"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2"},
                cwd="/",
                umask=0o022,
                start_new_session=True,  # keep Ctrl-C of a terminal from children: the worker decides when they end
            )
            undo.pop_all()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait until the process has ended, for at most this time."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def wait_ready(self) -> dict[str, bool]:
        """Wait until the template has loaded libvips and confined itself; return which parts of that were possible.

        Raises:
            TemplateDiedError: it was not ready in time, exited or sent something else.
        """
        try:
            report = json.loads(self._receive())
            parts: dict[str, bool] = report["confinement"]
            self.libvips, self.extras = report["libvips"], tuple(report["extras"])
            self.broken_extras = report["broken_extras"]
        except (ValueError, KeyError, TypeError) as error:
            raise TemplateDiedError(f"the template sent an invalid reply: {self._errors.read()}") from error
        return parts

    def fork(self, control: socket.socket, errors: ErrorPipe) -> int:
        """Fork a child with this socket and stderr; return its process id, which stays its own until it is reaped.

        Raises:
            TemplateDiedError: the template exited or did not reply in time.
            ChildDiedError: the template could not fork: too many processes, or too little memory.
        """
        pid = int(self._request(b"fork", [control.fileno(), errors.writer]))
        if pid < 0:
            raise ChildDiedError(f"the template could not fork: {os.strerror(-pid)}")
        return pid

    def reap(self, pid: int) -> Exit:
        """Have the template wait for a child that has ended. While the child is ending, all other requests wait too.

        Raises:
            TemplateDiedError: the template exited or did not reply in time.
        """
        status, cpu_seconds = self._request(b"reap %d" % pid).split()
        return Exit(os.waitstatus_to_exitcode(int(status)), float(cpu_seconds))

    def _request(self, request: bytes, descriptors: Sequence[int] = ()) -> bytes:
        with self._lock:
            try:
                socket.send_fds(self._socket, [request], descriptors)
            except OSError as error:
                raise TemplateDiedError(f"the template is gone: {self._errors.read()}") from error
            return self._receive()

    def _receive(self) -> bytes:
        try:
            reply = self._socket.recv(_REPLY_BYTES)
        except TimeoutError as error:
            self._process.kill()  # a late reply would be taken for the next one
            raise TemplateDiedError("the template did not reply") from error
        except OSError as error:
            raise TemplateDiedError("the template is gone") from error
        if not reply:
            raise TemplateDiedError(f"the template exited: {self._errors.read()}")
        return reply

    def close(self) -> None:
        """Kill the template, which kills its children."""
        self._process.kill()
        self._process.wait()
        with self._lock:  # a request in progress ends, because the process did
            self._socket.close()
            self._errors.close()
        _remove(self._fonts)


def _remove(fonts: Path) -> None:
    for folder, _, files in os.walk(fonts, topdown=False):
        for name in files:
            Path(folder, name).unlink(missing_ok=True)
        Path(folder).rmdir()


def _command(limits: ChildLimits, fonts: Path, program: Sequence[str]) -> list[str]:
    return [
        sys.executable,
        "-I",
        *program,
        f"--parent={os.getpid()}",
        f"--memory-bytes={limits.memory_bytes}",
        f"--file-bytes={limits.file_bytes}",
        f"--cpu-seconds={limits.cpu_seconds}",
        f"--fonts={fonts}",
        f"--user={limits.user}",
    ]
