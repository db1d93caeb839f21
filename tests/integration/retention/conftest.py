"""Jobs with files in an emptied bucket, a folder and tables; the garbage collector; and control over their age."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import obstore
import pytest
from obstore.store import S3Store
from tests.integration import job_rows

from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.controlplane.controller.loop import LoopBody
from pixelflow.controlplane.retention.gc import FileCollector, RemovedKind, RowCollector
from pixelflow.controlplane.retention.periods import RetentionPeriods
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.dataplane.worker.store import ClaimedJob, OutputRow, SourceFacts, UsageRow
from pixelflow.settings import Settings

ERROR = {"code": "undecodable", "message": "The source is damaged", "step_id": None}
TABLES = ("jobs", "attempts", "outputs", "pending_deletions", "events", "deliveries", "usage_logs", "idempotency_keys")
AGES = {
    "jobs": ("created_at", "queued_at", "started_at", "finished_at", "erased_at"),
    "attempts": ("started_at", "ended_at"),
    "pending_deletions": ("due_at",),
    "events": ("created_at", "next_attempt_at"),
}
"""Columns that ``age`` shifts."""


@dataclass
class Scene:
    """Jobs with their files, and the garbage collector."""

    settings: Settings
    database: AsyncDatabase
    eye: Connection
    bucket: S3Store
    root: Path
    removed: Counter[RemovedKind] = field(default_factory=Counter)

    # ── Jobs ─────────────────────────────────────────────────────────────────────────────────────

    def put(self, status: str, *, uploaded: bool = True, **columns: Any) -> UUID:  # noqa: ANN401  # as for `job_rows.put`
        """Insert a job in that status, and store its source."""
        started = {} if status == "created" else {"queued_at": datetime.now(UTC)}
        job_id = job_rows.put(self.eye, status, **(started | columns))
        if columns.get("source_type") != "local_file":
            self.eye.execute("UPDATE jobs SET source_key = %s WHERE job_id = %s", (source_key(job_id), job_id))
            if uploaded:
                self.store(source_key(job_id))
        return job_id

    def claim(self, job_id: UUID) -> ClaimedJob:
        """Claim the job as a worker, and store an output."""
        job = job_rows.claim(self.eye, job_id)
        assert job
        if job.source_type == "s3_presigned":
            self.store(self.output_of(job))
        else:
            path = Path(self.output_of(job))
            path.parent.mkdir(parents=True)
            path.write_bytes(b"pixels")
        return job

    def output_of(self, job: ClaimedJob) -> str:
        """The key or path of the output."""
        local = f"{self.root}/pixelflow-outputs/{job.job_id}/{job.lease_token}/small.webp"
        stored = f"outputs/{job.job_id}/{job.lease_token}/small.webp"
        return stored if job.source_type == "s3_presigned" else local

    def succeed(self, job_id: UUID) -> UUID:
        """Complete the job as a worker."""
        job = self.claim(job_id)
        assert worker_store.succeed(
            self.eye,
            job.lease,
            source=SourceFacts(6, "0" * 64, "jpeg", 2, 2),
            outputs=[OutputRow("small", 0, "resize", "webp", self.output_of(job), 6, 2, 2, "0" * 64)],
            usage=UsageRow(4, 0, 1),
            stages={},
        )
        return job_id

    def fail(self, job_id: UUID) -> UUID:
        """Fail the job as a worker."""
        assert worker_store.fail(self.eye, self.claim(job_id).lease, error=ERROR, stages={}, compute_time_ms=1)
        return job_id

    def hand_back(self, job_id: UUID) -> UUID:
        """Claim the job as a worker, and release it."""
        job = self.claim(job_id)
        delay = timedelta(0)
        assert worker_store.release(
            self.eye, job.lease, delay=delay, counted=False, error=None, stages={}, compute_time_ms=0
        )
        return job_id

    def age(self, job_id: UUID, **by: float) -> UUID:
        """Make the job and everything that belongs to it older."""
        for table, columns in AGES.items():
            shifted = ", ".join(f"{column} = {column} - %(by)s" for column in columns)
            self.eye.execute(
                f"UPDATE {table} SET {shifted} WHERE job_id = %(job_id)s",  # noqa: S608 - our own names
                {"by": timedelta(**by), "job_id": job_id},
            )
        return job_id

    # ── State ────────────────────────────────────────────────────────────────────────────────────

    def store(self, key: str) -> None:
        """Store an object."""
        obstore.put(self.bucket, key, b"pixels")

    def keys(self, job_id: UUID | None = None) -> set[str]:
        """Keys of objects, of one job or all."""
        found = {meta["path"] for batch in obstore.list(self.bucket) for meta in batch}
        return {key for key in found if job_id is None or str(job_id) in key}

    def row(self, job_id: UUID) -> dict[str, Any] | None:
        """The job's row."""
        return self.eye.execute("SELECT * FROM jobs WHERE job_id = %s", (job_id,)).fetchone()

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {table: len(self.eye.execute(f"SELECT FROM {table}").fetchall()) for table in TABLES}

    def everything(self) -> tuple[object, ...]:
        """All rows, objects and files."""
        rows = [
            sorted(str(row) for row in self.eye.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608 - our own names
            for table in TABLES
        ]
        return (rows, self.keys(), {path for path in self.root.rglob("*") if path.is_file()})

    # ── Collection ───────────────────────────────────────────────────────────────────────────────

    def count_removed(self, kind: RemovedKind, count: int) -> None:
        """Count, as the metric does."""
        self.removed[kind] += count

    def rows(self, **days: float) -> RowCollector:
        """The collector of rows, with these retention periods."""
        used = self.settings.model_copy(update={f"retention_{name}_days": value for name, value in days.items()})
        return RowCollector(self.database, RetentionPeriods.of(used), on_removed=self.count_removed)

    def files(self, objects: ObjectStorage | None = None, **settings: object) -> FileCollector:
        """The collector of files, with these settings."""
        used = self.settings.model_copy(update=settings)
        return FileCollector(
            self.database,
            objects or ObjectStorage(used),
            LocalFiles(used.local_roots),
            upload_grace=used.upload_grace,
            on_removed=self.count_removed,
        )

    async def run(self, **days: float) -> int:
        """Run both until neither finds anything; returns the sum of what they did."""
        loops: list[LoopBody] = [self.rows(**days), self.files()]
        total = 0
        while done := sum([await loop.run_once() for loop in loops]):
            total += done
        return total


@pytest.fixture
def scene(quiet: Settings, async_database: AsyncDatabase, connection: Connection, tmp_path: Path) -> Iterator[Scene]:
    connection.execute("TRUNCATE idempotency_keys")
    update = {"local_roots": (tmp_path,), "retention_source_days": 10.0, "retention_output_days": 20.0}
    settings = quiet.model_copy(update=update)
    bucket = ObjectStorage(settings)._metadata_store
    obstore.delete(bucket, [meta["path"] for batch in obstore.list(bucket) for meta in batch])
    yield Scene(settings, async_database, connection, bucket, tmp_path)
    connection.execute("TRUNCATE jobs, usage_logs, idempotency_keys CASCADE")
