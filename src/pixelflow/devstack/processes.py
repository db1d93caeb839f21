"""Child processes of the stack, with a parent-death signal, a lifeline pipe, a log file and their own process group.

Never call :func:`spawn` from a thread that ends before the stack: the kernel kills the children of a thread that ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, BinaryIO

from pixelflow.devstack import launcher
from pixelflow.devstack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pixelflow.devstack.account import Account
    from pixelflow.devstack.home import Home

LOG_BYTES = 10_000_000
"""A log larger than this is rotated when its process starts; one older file is kept."""
LOG_TAIL_BYTES = 2_000
WAIT_POLL_SECONDS = 0.005


class Child:
    """A running process, which leads a process group and a session."""

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes], home: Home, stop_signal: signal.Signals, log_start: int
    ) -> None:
        self.name = name
        self.log = home.log(name)
        self._log_start = log_start
        self.started_at = time.monotonic()
        """On the monotonic clock."""
        self._popen = popen
        self._stop_signal = stop_signal
        self._lifeline = home.lifeline
        self._lifeline.register(self.pid)

    @property
    def pid(self) -> int:
        """The process ID, which is also the ID of its process group and session."""
        return self._popen.pid

    @property
    def has_exited(self) -> bool:
        """Whether the process has exited. If so, the rest of its process group has been killed."""
        if self._popen.returncode is not None:
            return True
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self.kill_group()
        return True

    @property
    def exit_status(self) -> str:
        """Such as «exit code 3» or «SIGKILL»."""
        code = self._popen.returncode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def request_stop(self) -> None:
        """Send the signal that requests an orderly shutdown. No effect after the exit."""
        if not self.has_exited:
            self._popen.send_signal(self._stop_signal)

    def wait(self, deadline: float) -> bool:
        """Wait for the exit until ``deadline`` (on the monotonic clock). Return whether the process has exited."""
        while not self.has_exited:
            if time.monotonic() > deadline:
                return False
            time.sleep(WAIT_POLL_SECONDS)
        return True

    def kill_group(self) -> None:
        """Kill the process and everything in its process group. No effect after the exit."""
        if self._popen.returncode is None:
            # The process has not been waited for, so the kernel has not reused its ID for another group.
            os.killpg(self.pid, signal.SIGKILL)
            self._lifeline.unregister(self.pid)
            self._popen.wait()

    def describe_log(self) -> str:
        """Return the end of this process's own log output and the path of the log, for an error message."""
        with self.log.open("rb") as file:
            file.seek(max(self._log_start, self.log.stat().st_size - LOG_TAIL_BYTES))
            tail = file.read().decode(errors="replace").strip()
        return f"the end of {self.log}:\n{tail}" if tail else f"it wrote nothing to {self.log}."


def spawn(
    home: Home,
    name: str,
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    account: Account | None = None,
    stdin: str = "",
    pass_fds: Sequence[int] = (),
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Child:
    """Start ``command`` as a child that can't outlive this thread, its output appended to ``logs/{name}.log``.

    Args:
        home: the home whose log folder and lifeline pipe the child gets.
        name: the child's name in messages.
        command: program (absolute path) and arguments. Every user of the machine can read them: no secrets.
        environment: the complete environment of the child.
        account: the user to run as; None for the current user.
        stdin: the child's standard input.
        pass_fds: descriptors that the child inherits, with the same numbers.
        stop_signal: the signal that requests an orderly shutdown.
    """
    user = [str(account.uid), str(account.gid)] if account and account.is_other else ["-", "-"]
    with _open_log(home.log(name)) as output:
        log_start = os.fstat(output.fileno()).st_size
        popen = subprocess.Popen(  # noqa: S603 - the command is the stack's own
            [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *user, *map(str, command)],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home.path,
            env=dict(environment),
            pass_fds=[home.lifeline.read_end, *pass_fds],
            # Ctrl-C at the terminal must reach only the supervisor, which then stops the others in order.
            start_new_session=True,
        )
    _write_stdin(popen, stdin)
    return Child(name, popen, home, stop_signal, log_start)


def run_to_end(child: Child, seconds: float) -> None:
    """Wait for a process that exits by itself.

    Raises:
        StackError: it failed, or was killed because it took longer than ``seconds``.
    """
    if not child.wait(time.monotonic() + seconds):
        child.kill_group()
    if child.exit_status != "exit code 0":
        raise StackError(f"{child.name} failed ({child.exit_status}); {child.describe_log()}")


def stop_all(children: Sequence[Child], deadline: float) -> list[str]:
    """Request all of them to stop, and kill those still running at ``deadline`` (on the monotonic clock).

    Returns:
        The names of those that were killed.
    """
    for child in children:
        child.request_stop()
    running = [child for child in children if not child.wait(deadline)]
    for child in running:
        child.kill_group()
    return [child.name for child in running]


def _open_log(log: Path) -> BinaryIO:
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def _write_stdin(popen: subprocess.Popen[bytes], text: str) -> None:
    # If the process exited before it read its input, the caller notices when it waits for it.
    if popen.stdin:
        with contextlib.suppress(BrokenPipeError), popen.stdin as pipe:
            pipe.write(text.encode())
