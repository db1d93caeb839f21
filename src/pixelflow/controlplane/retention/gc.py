"""The garbage collector: expires files and jobs, deletes files, and deletes old rows.

Two loops: ``RowCollector`` uses only Postgres and records the files that have to be deleted; ``FileCollector`` deletes
them. Every pass is idempotent, so an interrupted one is run again. The collectors must never touch a job that is queued
or being processed, a local source (the owner's own file), a row that users are billed by, or an object outside of the
folders of recorded deletions.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Protocol

import structlog

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.controlplane.batches import store as batches_store
from pixelflow.controlplane.idempotency import store as idempotency_store
from pixelflow.controlplane.jobs import transitions
from pixelflow.controlplane.queue import store as queue_store
from pixelflow.controlplane.retention import store
from pixelflow.controlplane.retention.periods import RetentionPeriods
from pixelflow.controlplane.retention.store import DeletionKind, PendingDeletion
from pixelflow.errors import DependencyError


class RemovedKind(StrEnum):
    """What retention deletes."""

    SOURCE = "source"
    OUTPUT = "output"
    ORPHAN = "orphan"
    UPLOAD = "upload"
    ASSET = "asset"
    JOB = "job"
    BATCH = "batch"
    EVENT = "event"
    DELIVERY = "delivery"
    ATTEMPT = "attempt"
    IDEMPOTENCY_KEY = "idempotency_key"
    QUEUE_LANE = "queue_lane"


Report = Callable[[RemovedKind, int], None]
"""Called with what was removed, and how many."""

EXPIRY_BATCH = 500
ERASE_BATCH = 50
"""Never-started jobs are erased one by one, in one transaction."""
ROW_BATCH = 1000
LANE_BATCH = 200
"""Each user whose lanes are deleted needs a lock in the lock table of Postgres, whose size is fixed."""
FILE_BATCH = 200
"""Deletions of one pass whose objects are deleted by a single request."""
LIST_BATCH = 20
"""Deletions of one pass whose objects have to be listed first."""
LEASE = timedelta(minutes=1)
"""Of a batch of deletions."""
MAX_FAILURES = 3
"""Per pass. Each failure may be a timeout, and if storage is unavailable all of them fail."""

_BULK_KINDS = {DeletionKind.SOURCE, DeletionKind.OUTPUT}

_log = structlog.get_logger(__name__)


class Pass(Protocol):
    """A statement of the store that handles what is older than ``age``."""

    async def __call__(self, connection: AsyncConnection, *, age: timedelta, limit: int) -> int:
        """Returns how many."""


class RowCollector:
    """Erases never-started jobs, expires sources and outputs, and deletes old rows."""

    name = "gc_rows"

    def __init__(
        self,
        database: AsyncDatabase,
        periods: RetentionPeriods,
        *,
        on_removed: Report = lambda *_: None,
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``on_change`` is called with the owner of each job that was erased."""
        self._database = database
        self._periods = periods
        self._on_removed = on_removed
        self._on_change = on_change

    async def run_once(self) -> int:
        """Run each pass on a batch; returns the number of jobs and rows that it changed or deleted.

        Old rows are deleted even if expiring fails, so that a statement that always fails does not fill the database.

        Raises:
            StoreUnavailableError: Postgres did not answer.
        """
        total, failures = 0, list[Exception]()
        for run_passes in (self._expire, self._delete_old_rows):
            try:
                total += await run_passes()
            except Exception as error:  # noqa: BLE001 - raised below
                failures.append(error)
        if failures:
            raise failures[0]
        return total

    async def _expire(self) -> int:
        never_started = await self._erase_never_started(self._periods.upload)
        expire_unused = partial(store.expire_unused_uploads, upload_grace=self._periods.upload_grace)
        sources = await self._run(expire_unused, self._periods.upload)
        sources += await self._run(store.expire_sources, self._periods.source)
        outputs = await self._run(store.expire_outputs, self._periods.output)
        # Jobs are deleted after their files. While files expire, this pass would scan a growing number of jobs in vain.
        jobs = 0 if sources or outputs else await self._run(store.delete_jobs, self._periods.job)
        if total := never_started + sources + outputs + jobs:
            _log.info("expired", never_started=never_started, sources=sources, outputs=outputs, jobs=jobs)
        self._report({RemovedKind.UPLOAD: never_started, RemovedKind.JOB: jobs})
        return total

    async def _run(self, statement: Pass, age: timedelta | None) -> int:
        if age is None:
            return 0
        async with self._database.connection() as connection, connection.transaction():
            return await statement(connection, age=age, limit=EXPIRY_BATCH)

    async def _erase_never_started(self, age: timedelta) -> int:
        """Erase as their owners would, which deletes their uploads. No event is sent, since no run has ended."""
        async with self._database.connection() as connection, connection.transaction():
            due = await store.lock_never_started(connection, age=age, limit=ERASE_BATCH)
            for job in due:
                await transitions.erase(connection, job_id=job.job_id, user_id=job.user_id)
                await idempotency_store.forget_job(connection, job_id=job.job_id, user_id=job.user_id)
        for job in due:
            self._on_change(job.user_id)
        return len(due)

    async def _delete_old_rows(self) -> int:
        history = self._periods.history
        async with self._database.connection() as connection:
            keys = await idempotency_store.delete_expired(connection, keep=idempotency_store.KEEP, limit=ROW_BATCH)
            events = await store.delete_events(connection, age=history, limit=ROW_BATCH)
            attempts = await store.delete_attempts(connection, age=history, limit=ROW_BATCH)
            kept = self._periods.job
            batches = await batches_store.delete_old(connection, age=kept, limit=ROW_BATCH) if kept else 0
            lanes = await queue_store.delete_idle_lanes(connection, limit=LANE_BATCH)
        counts = {
            RemovedKind.IDEMPOTENCY_KEY: keys,
            RemovedKind.EVENT: events.events,
            RemovedKind.DELIVERY: events.deliveries,
            RemovedKind.ATTEMPT: attempts,
            RemovedKind.BATCH: batches,
            RemovedKind.QUEUE_LANE: lanes,
        }
        self._report(counts)
        if any(counts.values()):
            _log.info("old rows deleted", **{_plural(kind): count for kind, count in counts.items()})
        if lanes < LANE_BATCH:  # users become idle all the time: what is left waits for the next minute
            counts.pop(RemovedKind.QUEUE_LANE)
        return sum(counts.values())

    def _report(self, counts: dict[RemovedKind, int]) -> None:
        for kind, count in counts.items():
            if count:
                self._on_removed(kind, count)


def _plural(kind: RemovedKind) -> str:
    return f"{kind}es" if kind is RemovedKind.BATCH else f"{kind}s"


@dataclass
class _Result:
    """What one pass over a kind of deletions did."""

    files: int = 0
    failures: list[DependencyError] = field(default_factory=list)


class FileCollector:
    """Deletes the files of pending deletions, those of erased jobs first."""

    name = "gc_files"

    def __init__(
        self,
        database: AsyncDatabase,
        objects: ObjectStorage,
        local_files: LocalFiles,
        *,
        upload_grace: timedelta,
        on_removed: Report = lambda *_: None,
    ) -> None:
        """Create the collector.

        Args:
            database: connections for all users.
            objects: object storage.
            local_files: files under the local roots.
            upload_grace: how long after its erasure a job's files may still arrive.
            on_removed: called with the number of removed files.
        """
        self._database = database
        self._objects = objects
        self._local_files = local_files
        self._upload_grace = upload_grace
        self._on_removed = on_removed

    async def run_once(self) -> int:
        """Run a pass for each kind on a batch of deletions; returns how many deletions there were.

        Raises:
            ObjectsUnavailableError, StoreUnavailableError: some failed; they are due again after ``LEASE``.
        """
        total, failures = 0, list[DependencyError]()
        for kind in DeletionKind:
            due = await self._lease(kind)
            result = await self._delete_all(kind, due)
            if result.files and kind is not DeletionKind.JOB:
                self._on_removed(RemovedKind(kind), result.files)
                _log.info("files deleted", kind=kind, files=result.files)
            total += len(due)
            failures += result.failures
        if failures:
            raise failures[0]
        return total

    async def _lease(self, kind: DeletionKind) -> list[PendingDeletion]:
        limit = FILE_BATCH if kind in _BULK_KINDS else LIST_BATCH
        async with self._database.connection() as connection:
            return await store.lease_deletions(connection, kind=kind, lease=LEASE, limit=limit)

    async def _delete_all(self, kind: DeletionKind, due: Sequence[PendingDeletion]) -> _Result:
        """Delete one by one, unless all can be deleted at once: a file that storage refuses must not block others."""
        if kind in _BULK_KINDS and due:
            result = _Result()
            await self._delete(kind, due, result)
            if not result.failures:
                return result
        result = _Result()
        for each in random.sample(due, len(due)):  # a failing deletion must not be the first each time
            await self._delete(kind, [each], result)
            if len(result.failures) == MAX_FAILURES:
                break
        return result

    async def _delete(self, kind: DeletionKind, deletions: Sequence[PendingDeletion], result: _Result) -> None:
        try:
            files = await self._delete_files(kind, deletions)
            await self._complete(kind, deletions)
        except DependencyError as error:
            result.failures.append(error)
        else:
            result.files += files

    async def _complete(self, kind: DeletionKind, deletions: Sequence[PendingDeletion]) -> None:
        async with self._database.connection() as connection:
            if kind is DeletionKind.JOB:
                erased = [each.job_id for each in deletions]
                await store.complete_erasures(connection, erased, lease=LEASE, upload_grace=self._upload_grace)
            else:
                await store.complete_deletions(connection, deletions)

    async def _delete_files(self, kind: DeletionKind, deletions: Sequence[PendingDeletion]) -> int:
        """Returns the number of files."""
        local = [each for each in deletions if each.source_type == SourceType.LOCAL_FILE]
        stored = [each for each in deletions if each.source_type != SourceType.LOCAL_FILE]
        files = await asyncio.to_thread(self._delete_local, kind, local)
        if kind in {DeletionKind.JOB, DeletionKind.SOURCE}:
            await self._abort_uploads(stored)
        match kind:
            case DeletionKind.JOB:
                return files + sum([await self._delete_job(each) for each in stored])
            case DeletionKind.SOURCE:
                return files + await self._delete_objects([source_key(each.job_id) for each in stored])
            case DeletionKind.OUTPUT:
                return files + await self._delete_objects(_output_keys(stored))
        return files + sum([await self._objects.remove_attempt(each.job_id, each.attempt) for each in stored])

    def _delete_local(self, kind: DeletionKind, deletions: Sequence[PendingDeletion]) -> int:
        """Delete files under a local root, never a source."""
        if kind is DeletionKind.ORPHAN:
            return sum(
                self._local_files.remove_attempt(each.source_key, each.job_id, each.attempt) for each in deletions
            )
        if kind in {DeletionKind.OUTPUT, DeletionKind.JOB}:
            for each in deletions:
                self._local_files.remove_job(each.source_key, each.job_id)
        return len(_output_keys(deletions))

    async def _abort_uploads(self, deletions: Sequence[PendingDeletion]) -> None:
        """Delete parts of unfinished uploads; a completed upload has none."""
        for each in deletions:
            if each.multipart_upload is not None:
                await self._objects.multipart.abort(source_key(each.job_id), each.multipart_upload)

    async def _delete_job(self, deletion: PendingDeletion) -> int:
        objects = await self._objects.remove_job(deletion.job_id)
        _log.info("erased files deleted", job_id=str(deletion.job_id), objects=objects)
        return objects

    async def _delete_objects(self, keys: Sequence[str]) -> int:
        if keys:
            await self._objects.remove(keys)
        return len(keys)


def _output_keys(deletions: Sequence[PendingDeletion]) -> list[str]:
    return [key for each in deletions for key in each.output_keys]
