"""The user account that the servers run as, and its access to files.

Postgres refuses to run as root, so root starts the servers as ``nobody``.
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
    """The user account that the servers run as."""

    name: str
    uid: int
    gid: int
    is_other: bool
    """Whether it differs from the user that starts them."""

    def first_inaccessible_parent(self, path: Path) -> Path | None:
        """Return the topmost part of ``path`` that this account can't enter (or execute), or None."""
        path = path.resolve()
        return next((part for part in [*reversed(path.parents), path] if not self._can_execute(part)), None)

    def chown(self, path: Path) -> None:
        """Make this account the owner of ``path``. No effect if the account is the caller's own."""
        if self.is_other:
            os.chown(path, self.uid, self.gid)

    def _can_execute(self, path: Path) -> bool:
        if not self.is_other:
            return os.access(path, os.X_OK)
        status = path.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        return bool(status.st_mode & (stat.S_IXGRP if status.st_gid == self.gid else stat.S_IXOTH))


def servers_account() -> Account:
    """Return the caller's account, or ``nobody`` if the caller is root.

    Raises:
        StackError: the caller is root and the machine has no user ``nobody``.
    """
    uid = os.geteuid()
    if uid:
        return Account(name=str(uid), uid=uid, gid=os.getegid(), is_other=False)
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError as missing:
        raise StackError(
            f"Postgres can't run as root, and this machine has no user `{UNPRIVILEGED}` to run it as. "
            "Run the command as an ordinary user."
        ) from missing
    return Account(name=UNPRIVILEGED, uid=entry.pw_uid, gid=entry.pw_gid, is_other=True)
