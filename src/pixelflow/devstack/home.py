"""The home directory of one stack: its layout and modes, its lock, and what is kept in it between runs.

No secret leaves this directory by any other way than the environment of a process started from it, and no file that
holds one is ever readable by another user.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelflow.devstack.errors import StackError
from pixelflow.devstack.leash import Leash

if TYPE_CHECKING:
    from pixelflow.devstack.account import Account

CREDENTIALS = "credentials.json"
"""Where the API is and a key for it, for clients on this machine."""
SECRETS = "secrets.json"
SECRET_NAMES = ("postgres_admin", "postgres", "valkey", "s3_access_key_id", "s3_secret_access_key", "secrets_key")
SECRET_BYTES = 32
"""What can't be guessed, and what AES-256 takes as a key: 43 URL-safe characters."""
LOCK = "lock"
FAMILY_LOCK = "family.lock"
FAMILY_PATIENCE_SECONDS = 10.0
"""How long the processes of an earlier run, killed a moment ago, may take to be gone."""


def default_home() -> Path:
    """Where the stack lives when nobody says otherwise.

    Root's own directory can't be entered by the user that the servers run as, so root's stack lies in ``/var/lib``;
    other users' in their XDG data directory (XDG Base Directory Specification 0.8).
    """
    if os.geteuid() == 0:
        return Path("/var/lib/pixelflow")
    data = Path(os.environ.get("XDG_DATA_HOME") or "")
    return (data if data.is_absolute() else Path.home() / ".local" / "share") / "pixelflow"


def is_running(home: Path) -> bool:
    """Whether a stack holds this home at the moment; it is looked at, and not opened.

    Raises:
        OSError: that can't be seen.
    """
    try:
        with (home / LOCK).open("rb") as lock:
            # One that ended in order has left it empty. A lock is tried only after a kill, and kept by nobody.
            return lock.read(1) != b"" and not _locked(lock.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def not_running(home: Path) -> str:
    """What a person is told who needs the stack of this home."""
    return f"The stack in {home} is not running: start it by `pixelflow up --home {shlex.quote(str(home))}`"


def read_kept(home: Path, name: str) -> dict[str, Any]:
    """What :meth:`Home.write` kept under this name; empty if nothing.

    Raises:
        StackError: somebody changed the file into something unreadable.
        OSError: it may not be read.
    """
    path = home / name
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as broken:
        raise StackError(f"{path} is not the JSON that was written there: {broken}") from broken
    if not isinstance(found, dict):
        raise StackError(f"{path} is not the JSON that was written there.")
    return found


class Home:
    """An opened home: created if need be, locked against a second stack until :meth:`close`."""

    def __init__(self, path: Path, account: Account) -> None:
        """Create or adopt ``path``.

        Raises:
            StackError: the directory can't be made or entered, is something else's, or has a stack running in it.
        """
        self.path = path.expanduser().absolute()
        self.account = account
        try:
            self._create()
        except OSError as problem:
            raise StackError(f"Can't use {self.path} as a home: {problem.strerror}: {problem.filename}") from problem
        self.was_killed = False
        """Whether the run before this one had no time to end in order."""
        self._lock = self._take_lock()
        self._family_lock = self._take_family_lock()
        # The guardian holds it too: a run after a kill waits until nothing is left of the one before.
        self.secrets = self._load_secrets()
        self.leash = Leash(self._family_lock)
        self._is_closed = False

    def _create(self) -> None:
        # Before anything is made: the folders that are there already decide. After: so does the caller's umask.
        self._refuse_barred(next(parent for parent in self.path.parents if parent.exists()))
        self.path.mkdir(parents=True, mode=0o700, exist_ok=True)
        self._refuse_foreign()
        # The servers' account must pass through to its own folders; everything else in here is closed to it.
        self.path.chmod(0o711 if self.account.is_other else 0o700)
        self._refuse_barred(self.path)
        (self.path / "logs").mkdir(mode=0o700, exist_ok=True)

    def _refuse_barred(self, path: Path) -> None:
        if barrier := self.account.barrier(path):
            raise StackError(
                f"The servers run as «{self.account.name}», who can't enter {barrier}: "
                f"choose a home that is not below it (--home), or let others enter it (chmod o+x)."
            )

    def _refuse_foreign(self) -> None:
        if self.path.stat().st_uid != os.geteuid():
            raise StackError(f"{self.path} belongs to another user: run as that user, or choose another --home.")
        names = {entry.name for entry in self.path.iterdir()}
        if SECRETS not in names and names - {LOCK, FAMILY_LOCK, "logs"}:
            raise StackError(f"{self.path} holds something else: choose an empty or new directory as --home.")

    def _take_lock(self) -> int:
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            owner = os.read(descriptor, 20).decode(errors="replace") or "unknown"
            os.close(descriptor)
            raise StackError(
                f"A stack is running in {self.path} already (process {owner}): stop it, or choose another --home."
            ) from held
        self.was_killed = os.fstat(descriptor).st_size > 0
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        return descriptor

    def _take_family_lock(self) -> int:
        descriptor = os.open(self.path / FAMILY_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + FAMILY_PATIENCE_SECONDS
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                os.close(descriptor)
                os.close(self._lock)
                raise StackError(f"Processes of an earlier run in {self.path} are still there: end them first.")
            time.sleep(0.02)
        return descriptor

    def _load_secrets(self) -> dict[str, str]:
        kept = self.read(SECRETS)
        made = {name: kept.get(name) or secrets.token_urlsafe(SECRET_BYTES) for name in SECRET_NAMES}
        if made != kept:
            self.write(SECRETS, made)
        return made

    def read(self, name: str) -> dict[str, Any]:
        """As :func:`read_kept`."""
        return read_kept(self.path, name)

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Keep ``content`` under this name, mode 0600, whole or not at all."""
        self.write_private(self.path / name, json.dumps(content, indent=2) + "\n")

    def write_private(self, path: Path, text: str) -> None:
        """Write a file of mode 0600, whole or not at all."""
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def folder(self, name: str) -> Path:
        """A folder that only the servers' account can enter, made if need be."""
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        self.account.take(path)
        return path

    def log(self, name: str) -> Path:
        """Where the process of this name writes what it says."""
        return self.path / "logs" / f"{name}.log"

    def close(self) -> None:
        """Let another stack run here, and tell it that this one ended in order. Harmless when repeated."""
        if self._is_closed:
            return
        self._is_closed = True
        self.leash.release()
        os.ftruncate(self._lock, 0)
        os.close(self._family_lock)
        os.close(self._lock)


def _locked(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
