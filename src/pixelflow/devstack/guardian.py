"""Outlives the stack by a moment, to end whatever would outlive it by more.

Run by path, in a bare interpreter, by ``leash``. Every process of the stack holds the reading end of one pipe, whose
writing end the supervisor alone holds. When that closes, however it came to that, two kinds of processes are killed:
those that still hold this very pipe, such as a database process that computes on and has not noticed, and those in the
session of a process that the supervisor told of, such as a worker's own children. Never imports anything of PixelFlow.

Argument: the number of the pipe's descriptor. Through the pipe come lines, ``+`` or ``-`` and a session's number.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.02


def sessions_at_release(leash: int) -> set[int]:
    """Return when nobody can write to the pipe any more: the sessions that were told of and not taken back."""
    sessions: set[int] = set()
    with os.fdopen(leash, closefd=False) as lines:
        for line in lines:
            (sessions.add if line[0] == "+" else sessions.discard)(int(line[1:]))
    return sessions


def kill_family(pipe: str, sessions: set[int]) -> bool:
    """Kill what belongs to the stack; whether there was anything."""
    found = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if int(entry.name) != os.getpid()]
    return sum(_kill_if_family(process, pipe, sessions) for process in found) > 0


def _kill_if_family(process: int, pipe: str, sessions: set[int]) -> bool:
    # The handle is of the process that is looked at after it was opened: a number given anew meanwhile hits nobody.
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(process)
        try:
            if _is_alive(process) and (os.getsid(process) in sessions or _holds(process, pipe)):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False


def _is_alive(process: int) -> bool:
    # A dead one that its parent has not waited for is still listed, in state Z (proc_pid_stat(5)).
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"


def _holds(process: int, pipe: str) -> bool:
    return any(_names(link, pipe) for link in Path(f"/proc/{process}/fd").iterdir())


def _names(link: Path, pipe: str) -> bool:
    try:
        return str(link.readlink()) == pipe
    except OSError:
        return False


def main() -> None:
    """Wait, then end what is left."""
    leash = int(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions = sessions_at_release(leash)
    pipe = str(Path(f"/proc/self/fd/{leash}").readlink())
    deadline = time.monotonic() + PATIENCE_SECONDS
    while kill_family(pipe, sessions) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
