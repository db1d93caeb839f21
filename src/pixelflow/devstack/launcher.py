"""Becomes another program: first bound to its parent's life, then stripped of root's rights.

Run by path, in a bare interpreter, so that it starts in milliseconds and nothing runs between fork and exec of a
process that may hold threads. Never imports anything of PixelFlow.

Arguments: the parent's process id, the uid and gid to become (``-`` to stay), then the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when the thread that started it ends; cleared by a change of uid."""
ORPHANED = 125


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process with its parent, which may have gone before it was asked to."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(ORPHANED)


def drop_privileges(uid: int, gid: int) -> None:
    """Become another user for good, without any of root's groups."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def main() -> None:
    """Do as the arguments say."""
    parent, uid, gid, *command = sys.argv[1:]
    if uid != "-":
        drop_privileges(int(uid), int(gid))
    die_with_parent(int(parent))
    os.execve(command[0], command, os.environ)  # noqa: S606 - the command is the supervisor's own


if __name__ == "__main__":
    main()
