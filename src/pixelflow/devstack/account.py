"""Which user the servers run as, and what keeps that user from reaching a file.

Postgres refuses to run as root, so root starts the servers as ``nobody``. Never changes a file or a process.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixelflow.devstack.errors import StackError

if TYPE_CHECKING:
    from pathlib import Path

UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Account:
    """The user that the servers run as."""

    name: str
    uid: int
    gid: int
    is_other: bool
    """Whether it is another user than the one that starts them."""

    def barrier(self, path: Path) -> Path | None:
        """The uppermost folder above ``path``, or ``path`` itself, that this account may not enter or run."""
        path = path.resolve()
        return next((step for step in [*reversed(path.parents), path] if not self._may_execute(step)), None)

    def take(self, path: Path) -> None:
        """Make ``path`` this account's own; needed only where it is another user."""
        if self.is_other:
            os.chown(path, self.uid, self.gid)

    def _may_execute(self, path: Path) -> bool:
        if not self.is_other:
            return os.access(path, os.X_OK)
        status = path.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        return bool(status.st_mode & (stat.S_IXGRP if status.st_gid == self.gid else stat.S_IXOTH))


def servers_account() -> Account:
    """The caller's own account, or ``nobody`` for root.

    Raises:
        StackError: root runs it and the machine has no user ``nobody``.
    """
    uid = os.geteuid()
    if uid:
        return Account(name=str(uid), uid=uid, gid=os.getegid(), is_other=False)
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError as missing:
        raise StackError(
            f"Postgres does not run as root, and this machine has no user «{UNPRIVILEGED}» to run it as. "
            "Start as an ordinary user."
        ) from missing
    return Account(name=UNPRIVILEGED, uid=entry.pw_uid, gid=entry.pw_gid, is_other=True)
