"""One process of the stack: started bound to its parent's life, its output in a log, ended with all its family.

Starts everything from the calling thread, whose end is the children's end: never call :func:`spawn` from a thread that
is shorter-lived than the stack.
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
"""A log that has grown past this is set aside (one older file is kept) when its process starts."""
LOG_TAIL_BYTES = 2_000
WAIT_POLL_SECONDS = 0.005


class Child:
    """A running process and the process group and session that it leads."""

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes], home: Home, stop_signal: signal.Signals, log_from: int
    ) -> None:
        self.name = name
        self.log = home.log(name)
        self._log_from = log_from
        self.started_at = time.monotonic()
        """On the monotonic clock."""
        self._popen = popen
        self._stop_signal = stop_signal
        self._leash = home.leash
        self._leash.tie(self.pid)

    @property
    def pid(self) -> int:
        """The process id, which is the process group's too."""
        return self._popen.pid

    @property
    def ended(self) -> bool:
        """Whether it is over; what it left in its process group is then over too."""
        if self._popen.returncode is not None:
            return True
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self.kill_family()
        return True

    @property
    def how_it_ended(self) -> str:
        """Such as «exit code 3» or «SIGKILL»."""
        code = self._popen.returncode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def ask_to_end(self) -> None:
        """Send the signal that ends it in order. No effect once it is over."""
        if not self.ended:
            self._popen.send_signal(self._stop_signal)

    def wait(self, deadline: float) -> bool:
        """Whether it is over by then (on the monotonic clock)."""
        while not self.ended:
            if time.monotonic() > deadline:
                return False
            time.sleep(WAIT_POLL_SECONDS)
        return True

    def kill_family(self) -> None:
        """End it at once, with everything in its process group. No effect once it is over."""
        if self._popen.returncode is None:
            # It has not been waited for, so its number is still its own: no stranger's group is hit.
            os.killpg(self.pid, signal.SIGKILL)
            self._leash.untie(self.pid)
            self._popen.wait()

    def describe_log(self) -> str:
        """The end of what it has written, without what earlier ones left there, and where that is: for a person."""
        with self.log.open("rb") as file:
            file.seek(max(self._log_from, self.log.stat().st_size - LOG_TAIL_BYTES))
            said = file.read().decode(errors="replace").strip()
        return f"{self.log} says:\n{said}" if said else f"it wrote nothing to {self.log}."


def spawn(
    home: Home,
    name: str,
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    account: Account | None = None,
    feed: str = "",
    inherits: Sequence[int] = (),
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Child:
    """Start ``command`` as a child that can't outlive this thread, its output appended to ``logs/{name}.log``.

    Args:
        home: whose log folder and leash it gets.
        name: what it is called in messages.
        command: program (absolute path) and arguments, which every user of the machine can read: no secrets.
        environment: the whole environment of the child.
        account: the user to become; None to stay.
        feed: what it reads on its standard input.
        inherits: descriptors that it keeps, by the same numbers.
        stop_signal: what asks it to end in order.
    """
    become = [str(account.uid), str(account.gid)] if account and account.is_other else ["-", "-"]
    with _opened(home.log(name)) as output:
        log_from = os.fstat(output.fileno()).st_size
        popen = subprocess.Popen(  # noqa: S603 - the command is the stack's own
            [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *become, *map(str, command)],
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home.path,
            env=dict(environment),
            pass_fds=[home.leash.descriptor, *inherits],
            # Ctrl-C at the terminal must reach the supervisor alone, which then ends the others in order.
            start_new_session=True,
        )
    _feed(popen, feed)
    return Child(name, popen, home, stop_signal, log_from)


def run_to_end(child: Child, seconds: float) -> None:
    """Wait for a process that does one thing.

    Raises:
        StackError: it failed, or took longer than so many seconds (and was killed).
    """
    if not child.wait(time.monotonic() + seconds):
        child.kill_family()
    if child.how_it_ended != "exit code 0":
        raise StackError(f"{child.name} failed ({child.how_it_ended}); {child.describe_log()}")


def stop_all(children: Sequence[Child], deadline: float) -> list[str]:
    """Ask all of them to end, and kill those that have not by ``deadline`` (on the monotonic clock).

    Returns:
        The names of those that had to be killed.
    """
    for child in children:
        child.ask_to_end()
    stubborn = [child for child in children if not child.wait(deadline)]
    for child in stubborn:
        child.kill_family()
    return [child.name for child in stubborn]


def _opened(log: Path) -> BinaryIO:
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def _feed(popen: subprocess.Popen[bytes], text: str) -> None:
    # One that ended before it read is found by whoever waits for it.
    if popen.stdin:
        with contextlib.suppress(BrokenPipeError), popen.stdin as pipe:
            pipe.write(text.encode())
