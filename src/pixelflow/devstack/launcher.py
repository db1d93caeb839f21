"""Script that drops root privileges, sets a parent-death signal and then executes another program.

It is run by path in a bare interpreter, so that it starts in milliseconds and no Python code runs between fork and exec
of a parent that may have threads. It must never import anything of PixelFlow.

Arguments: the parent's process ID, the uid and gid to switch to (``-`` to keep the current user), then the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process receives when the thread that started it ends. A change of uid clears it."""
ORPHANED = 125
"""Exit code if the parent ended before the signal was set."""


def set_parent_death_signal(parent: int) -> None:
    """Let the kernel kill this process when its parent ends. Exit if the parent has already ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(ORPHANED)


def drop_privileges(uid: int, gid: int) -> None:
    """Switch to another user irrevocably, without any of root's groups."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def main() -> None:
    """Run the script."""
    parent, uid, gid, *command = sys.argv[1:]
    if uid != "-":
        drop_privileges(int(uid), int(gid))
    set_parent_death_signal(int(parent))
    os.execve(command[0], command, os.environ)  # noqa: S606 - the command is the supervisor's own


if __name__ == "__main__":
    main()
