"""The manifest of ``submit --resume``: which photo has which job, in a SQLite file.

Every change is on disk before the step that depends on it, so that the process can be killed at any moment: the
idempotency key before the job is created, the ID of the job before it can start.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from pixelflow.client import InvalidRequestError

FILE_NAME = "pixelflow-manifest.sqlite"
_APPLICATION_ID = 0x50464D31
"""Marks the file as a manifest (``PFM1``), in the header that SQLite has for it."""
_SQLITE_HEADER = b"SQLite format 3\0"
_APPLICATION_ID_AT = 68
_JOURNALS = ("-journal", "-wal", "-shm")
"""Ends of the names of files that SQLite keeps beside its own."""
_VERSION = 1
_SCHEMA = """
    CREATE TABLE service (api_url TEXT NOT NULL);
    CREATE TABLE photos (
        path BLOB PRIMARY KEY,
        bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        work TEXT NOT NULL,
        prefix BLOB NOT NULL,
        seed TEXT NOT NULL,
        job_id TEXT,
        started INTEGER NOT NULL DEFAULT 0,
        folder BLOB
    ) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Fingerprint:
    """What a file contained when it was read."""

    bytes: int
    mtime_ns: int
    sha256: str


class SentBefore(StrEnum):
    """What the manifest says of a photo when a command begins."""

    NO = "no"
    SAME = "same"
    """The same content with the same pipeline: its job goes on."""
    OTHER_CONTENT = "other_content"
    OTHER_PIPELINE = "other_pipeline"


@dataclass(frozen=True)
class ManifestEntry:
    """The job of one photo."""

    path: Path
    fingerprint: Fingerprint
    work: str
    """Digest of the pipeline or preset, and of how the file is read."""
    prefix: str
    """What the names of its outputs begin with."""
    seed: str
    """A random part of the idempotency key: a new one means another job."""
    job_id: UUID | None = None
    started: bool = False
    folder: Path | None = None
    """Where all outputs were downloaded to."""

    def idempotency_key(self, request: bytes) -> str:
        """Return the key for the request that creates the job. Equal only for equal requests."""
        return hashlib.sha256(self.seed.encode() + request).hexdigest()


class Manifest:
    """An open manifest. Only one process can have it open; the operating system releases the lock of one that dies.

    Every method that changes something raises an InvalidRequestError if the file can't be written.
    """

    def __init__(self, path: Path, api_url: str) -> None:
        """Open the manifest at ``path``, or create it.

        Raises:
            InvalidRequestError: another process has it open, it belongs to another API, it is not a manifest, or it
                can't be written.
        """
        self._path = path
        with self._map_errors():
            _create_private(path)
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                self._prepare(api_url)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, api_url: str) -> None:
        # Exclusive mode holds the lock until the connection is closed.
        for pragma in ("locking_mode = EXCLUSIVE", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("BEGIN EXCLUSIVE")
        [application_id] = self._connection.execute("PRAGMA application_id").fetchone()
        [version] = self._connection.execute("PRAGMA user_version").fetchone()
        [tables] = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if (application_id, version, tables) == (0, 0, 0):
            self._create(api_url)
        elif (application_id, version) != (_APPLICATION_ID, _VERSION):
            raise InvalidRequestError(f"{self._path} is not a manifest of this version; name another --manifest", ())
        [owner] = self._connection.execute("SELECT api_url FROM service").fetchone()
        self._connection.execute("COMMIT")
        if owner != api_url:
            raise InvalidRequestError(
                f"The jobs in {self._path} belong to {owner}, not to {api_url}; name another --manifest", ()
            )
        # One fsync per change. Only now: the file of another program must stay as it is.
        self._connection.execute("PRAGMA journal_mode = WAL")

    def _create(self, api_url: str) -> None:
        for statement in _SCHEMA.split(";"):
            self._connection.execute(statement)
        self._connection.execute("INSERT INTO service VALUES (?)", (api_url,))
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    @property
    def parts_name(self) -> str:
        """The name of a directory that no other manifest uses for incomplete downloads."""
        return f".pixelflow-{hashlib.sha256(os.fsencode(self._path.absolute())).hexdigest()[:16]}.parts"

    def close(self) -> None:
        """Close the file and release its lock."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def entries(self) -> dict[Path, ManifestEntry]:
        """Return all entries by path."""
        with self._map_errors():
            rows = self._connection.execute(
                "SELECT path, bytes, mtime_ns, sha256, work, prefix, seed, job_id, started, folder FROM photos"
            ).fetchall()
        return {entry.path: entry for entry in map(_entry, rows)}

    def begin(
        self, known: ManifestEntry | None, path: Path, fingerprint: Fingerprint, *, work: str, prefix: str
    ) -> tuple[ManifestEntry, SentBefore]:
        """Record that a job for the photo will be created, unless ``known`` has one for this content and work."""
        before = _compare(known, fingerprint, work)
        if known is not None and before is SentBefore.SAME:
            if known.fingerprint != fingerprint:  # the file was copied or touched
                known = self._put(replace(known, fingerprint=fingerprint))
            return known, before
        return self._put(ManifestEntry(path, fingerprint, work, prefix, secrets.token_hex(16))), before

    def set_created(self, entry: ManifestEntry, job_id: UUID) -> ManifestEntry:
        """Record the job, which does not run yet."""
        return self._put(replace(entry, job_id=job_id))

    def set_started(self, entry: ManifestEntry) -> ManifestEntry:
        """Record that the job was started."""
        return self._put(replace(entry, started=True))

    def set_downloaded(self, entry: ManifestEntry, folder: Path) -> ManifestEntry:
        """Record that all outputs are in ``folder``."""
        return self._put(replace(entry, folder=folder))

    def forget_job(self, entry: ManifestEntry) -> ManifestEntry:
        """Record that the job of the entry is gone, and never ran: the next one is another."""
        return self._put(replace(entry, seed=secrets.token_hex(16), job_id=None, started=False))

    def _put(self, entry: ManifestEntry) -> ManifestEntry:
        row = (
            os.fsencode(entry.path),
            entry.fingerprint.bytes,
            entry.fingerprint.mtime_ns,
            entry.fingerprint.sha256,
            entry.work,
            os.fsencode(entry.prefix),
            entry.seed,
            str(entry.job_id) if entry.job_id else None,
            entry.started,
            os.fsencode(entry.folder) if entry.folder else None,
        )
        with self._map_errors():
            self._connection.execute("INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return entry

    @contextmanager
    def _map_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname.startswith("SQLITE_BUSY"):
                message = f"{self._path} is in use: another `submit --resume` runs with the same manifest"
            elif error.sqlite_errorname.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
                message = f"{self._path} is not a manifest; name another --manifest"
            else:
                message = f"{self._path} can't be used as a manifest: {error}"
            raise InvalidRequestError(message, ()) from error
        except OSError as error:
            raise InvalidRequestError(f"{self._path} can't be used as a manifest: {error.strerror}", ()) from error


def is_of_manifest(path: Path, used: Path | None) -> bool:
    """Return whether the file is a manifest or a journal of one; ``used`` is one also while it has no content."""
    name = next((path.name.removesuffix(end) for end in _JOURNALS if path.name.endswith(end)), path.name)
    database = path.with_name(name or path.name)
    return (used is not None and database.resolve() == used.resolve()) or _is_manifest(database)


def _is_manifest(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_APPLICATION_ID_AT + 4)
    except OSError:
        return False
    return head.startswith(_SQLITE_HEADER) and head[_APPLICATION_ID_AT:] == _APPLICATION_ID.to_bytes(4)


def fingerprint_of(path: Path, known: Fingerprint | None) -> Fingerprint:
    """Return what the file contains. It is read only if its size or modification time differs from ``known``.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if known is not None and (known.bytes, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
            return known
        return Fingerprint(status.st_size, status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())


def _compare(known: ManifestEntry | None, fingerprint: Fingerprint, work: str) -> SentBefore:
    if known is None:
        return SentBefore.NO
    if known.fingerprint.sha256 != fingerprint.sha256:
        return SentBefore.OTHER_CONTENT
    return SentBefore.SAME if known.work == work else SentBefore.OTHER_PIPELINE


def _entry(row: tuple[bytes, int, int, str, str, bytes, str, str | None, int, bytes | None]) -> ManifestEntry:
    path, size, mtime_ns, sha256, work, prefix, seed, job_id, started, folder = row
    return ManifestEntry(
        Path(os.fsdecode(path)),
        Fingerprint(size, mtime_ns, sha256),
        work,
        os.fsdecode(prefix),
        seed,
        UUID(job_id) if job_id else None,
        bool(started),
        Path(os.fsdecode(folder)) if folder else None,
    )


def _create_private(path: Path) -> None:
    """Create the file, readable only by its owner: it lists files and jobs."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
