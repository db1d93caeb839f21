"""Script that kills the remaining processes of a stack after its supervisor has ended.

It is run by path in a bare interpreter by ``lifeline.LifelinePipe`` and must never import anything of PixelFlow.

Every process of the stack inherits the read end of one pipe; only the supervisor has the write end. When the write end
closes, for any reason, the script kills two kinds of processes: those that still have this pipe open, such as a
database process that is busy and has not noticed, and those in a session that the supervisor registered, such as a
worker's children.

Argument: the descriptor of the pipe. Input on the pipe: lines of ``+`` or ``-`` and a session ID.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

KILL_SECONDS = 10.0
POLL_SECONDS = 0.02


def read_sessions(lifeline: int) -> set[int]:
    """Block until the write end is closed, then return the sessions that are still registered."""
    sessions: set[int] = set()
    with os.fdopen(lifeline, closefd=False) as lines:
        for line in lines:
            (sessions.add if line[0] == "+" else sessions.discard)(int(line[1:]))
    return sessions


def kill_orphans(pipe: str, sessions: set[int]) -> bool:
    """Kill the processes that belong to the stack. Return whether there were any."""
    pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if int(entry.name) != os.getpid()]
    return sum(_kill_if_orphan(pid, pipe, sessions) for pid in pids) > 0


def _kill_if_orphan(pid: int, pipe: str, sessions: set[int]) -> bool:
    # The pidfd is opened before the process is examined, so that a reused process ID is never signaled.
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if _is_alive(pid) and (os.getsid(pid) in sessions or _has_open(pid, pipe)):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                return True
        finally:
            os.close(pidfd)
    return False


def _is_alive(pid: int) -> bool:
    # A zombie is still listed, in state Z (proc_pid_stat(5)).
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"


def _has_open(pid: int, pipe: str) -> bool:
    return any(_points_to(link, pipe) for link in Path(f"/proc/{pid}/fd").iterdir())


def _points_to(link: Path, pipe: str) -> bool:
    try:
        return str(link.readlink()) == pipe
    except OSError:
        return False


def main() -> None:
    """Run the script."""
    lifeline = int(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions = read_sessions(lifeline)
    pipe = str(Path(f"/proc/self/fd/{lifeline}").readlink())
    deadline = time.monotonic() + KILL_SECONDS
    while kill_orphans(pipe, sessions) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
