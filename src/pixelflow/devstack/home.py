"""The home directory of a stack: its layout, file modes, locks and stored files.

Secrets leave this directory only in the environment of processes started from it. A file that contains a secret must
never be readable by another user.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelflow.devstack.errors import StackError
from pixelflow.devstack.lifeline import LifelinePipe
from pixelflow.local_home import LOCK

if TYPE_CHECKING:
    from pixelflow.devstack.account import Account

ROLES = ("api", "controller", "worker")
"""PixelFlow's processes. Each has credentials of its own for every server."""
SECRETS_FILE = "secrets.json"
SECRET_NAMES = (
    *("postgres_admin", "postgres", "valkey", "s3_access_key_id", "s3_secret_access_key", "secrets_key"),
    *(
        f"{name}_{role}"
        for role in ROLES
        for name in ("postgres", "valkey", "s3_access_key_id", "s3_secret_access_key")
    ),
)
SECRET_BYTES = 32
"""256 bits, the key size of AES-256: 43 URL-safe characters."""
PROCESSES_LOCK = "processes.lock"
"""Held by the supervisor and the orphan reaper, so until no process of the stack is left."""
PROCESSES_LOCK_SECONDS = 10.0
"""How long to wait for the end of an earlier run's processes, which may have been killed a moment ago."""


def read_json(home: Path, name: str) -> dict[str, Any]:
    """Read a file written by :meth:`Home.write_json`; empty if it does not exist.

    Raises:
        StackError: the content is not a JSON object.
        OSError: the file can't be read.
    """
    path = home / name
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as broken:
        raise StackError(f"{path} is damaged (not valid JSON: {broken})") from broken
    if not isinstance(found, dict):
        raise StackError(f"{path} is damaged (not a JSON object).")
    return found


class Home:
    """An open home. It is created if it does not exist, and locked against a second stack until :meth:`close`."""

    def __init__(self, path: Path, account: Account) -> None:
        """Create or open ``path``.

        Raises:
            StackError: the directory can't be created or entered, contains other files, or has a stack running in it.
        """
        self.path = path.expanduser().absolute()
        self.account = account
        try:
            self._create()
        except OSError as problem:
            raise StackError(
                f"{self.path} can't be used as a home: {problem.strerror}: {problem.filename}"
            ) from problem
        self.was_killed = False
        """Whether the previous run ended without an orderly shutdown."""
        self._lock = self._acquire_lock()
        self._processes_lock = self._acquire_processes_lock()
        self.secrets = self._load_secrets()
        self.lifeline = LifelinePipe(self._processes_lock)
        self._is_closed = False

    def _create(self) -> None:
        # Checked before anything is created, for the existing folders, and afterwards, because the umask matters too.
        self._require_access(next(parent for parent in self.path.parents if parent.exists()))
        self.path.mkdir(parents=True, mode=0o700, exist_ok=True)
        self._require_own_home()
        # The servers' account must be able to enter its own folders, and nothing else in the home.
        self.path.chmod(0o711 if self.account.is_other else 0o700)
        self._require_access(self.path)
        (self.path / "logs").mkdir(mode=0o700, exist_ok=True)

    def _require_access(self, path: Path) -> None:
        if parent := self.account.first_inaccessible_parent(path):
            raise StackError(
                f"The servers run as the user `{self.account.name}`, who can't enter {parent}. "
                f"Choose a home outside of it (--home), or allow others to enter it (chmod o+x)."
            )

    def _require_own_home(self) -> None:
        if self.path.stat().st_uid != os.geteuid():
            raise StackError(
                f"{self.path} belongs to another user. Run the command as that user, or choose another --home."
            )
        names = {entry.name for entry in self.path.iterdir()}
        if SECRETS_FILE not in names and names - {LOCK, PROCESSES_LOCK, "logs"}:
            raise StackError(f"{self.path} contains other files. Choose an empty or new directory as --home.")

    def _acquire_lock(self) -> int:
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            owner = os.read(descriptor, 20).decode(errors="replace") or "unknown"
            os.close(descriptor)
            raise StackError(
                f"PixelFlow is already running in {self.path} (process {owner}). Stop it, or choose another --home."
            ) from held
        self.was_killed = os.fstat(descriptor).st_size > 0
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        return descriptor

    def _acquire_processes_lock(self) -> int:
        descriptor = os.open(self.path / PROCESSES_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + PROCESSES_LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                os.close(descriptor)
                os.close(self._lock)
                raise StackError(f"Processes of an earlier run in {self.path} are still running. Stop them first.")
            time.sleep(0.02)
        return descriptor

    def _load_secrets(self) -> dict[str, str]:
        stored = self.read_json(SECRETS_FILE)
        complete = {name: stored.get(name) or secrets.token_urlsafe(SECRET_BYTES) for name in SECRET_NAMES}
        if complete != stored:
            self.write_json(SECRETS_FILE, complete)
        return complete

    def read_json(self, name: str) -> dict[str, Any]:
        """As :func:`read_json`."""
        return read_json(self.path, name)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write ``content`` to the file ``name`` atomically, with mode 0600."""
        self.write_private(self.path / name, json.dumps(content, indent=2) + "\n")

    def write_private(self, path: Path, text: str) -> None:
        """Write a file atomically, with mode 0600."""
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def folder(self, name: str) -> Path:
        """Return a folder that only the servers' account can enter; create it if it does not exist."""
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        self.account.chown(path)
        return path

    def log(self, name: str) -> Path:
        """Return the path of the log of the process ``name``."""
        return self.path / "logs" / f"{name}.log"

    def close(self) -> None:
        """Record an orderly shutdown and release the home. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self.lifeline.close()
        os.ftruncate(self._lock, 0)
        os.close(self._processes_lock)
        os.close(self._lock)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
