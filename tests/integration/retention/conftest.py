"""A bucket, a folder and tables of these tests' own, the loops of retention, and time that passes when told to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
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
from pixelflow.controlplane.controller.metrics import RemovedKind
from pixelflow.controlplane.retention.expirer import Expirer
from pixelflow.controlplane.retention.periods import RetentionPeriods
from pixelflow.controlplane.retention.pruner import Pruner
from pixelflow.controlplane.retention.remover import Remover
from pixelflow.controlplane.retention.sweeper import Sweeper
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.dataplane.worker.store import ClaimedJob, OutputRow, SourceFacts, UsageRow
from pixelflow.settings import Settings

ERROR = {"code": "undecodable", "message": "The source is damaged", "step_id": None}
TABLES = ("jobs", "attempts", "outputs", "removals", "events", "deliveries", "usage_logs", "idempotency_keys")
AGES = {
    "jobs": ("created_at", "queued_at", "started_at", "finished_at", "erased_at", "purge_at"),
    "attempts": ("started_at", "ended_at"),
    "removals": ("due_at",),
    "events": ("created_at", "next_try_at"),
}
"""What grows older with a job."""


@dataclass
class Scene:
    """Jobs with their files, and what removes them."""

    settings: Settings
    database: AsyncDatabase
    eye: Connection
    bucket: S3Store
    root: Path
    told: Counter[RemovedKind] = field(default_factory=Counter)

    # ── Jobs ─────────────────────────────────────────────────────────────────────────────────────

    def put(self, status: str, *, uploaded: bool = True, **columns: Any) -> UUID:  # noqa: ANN401  # as for `job_rows.put`
        """A job in that status, with its source."""
        job_id = job_rows.put(self.eye, status, **columns)
        if columns.get("source_type") != "local_file":
            self.eye.execute("UPDATE jobs SET source_key = %s WHERE job_id = %s", (source_key(job_id), job_id))
            if uploaded:
                self.store(source_key(job_id))
        return job_id

    def claim(self, job_id: UUID) -> ClaimedJob:
        """Have a worker take it, and store an output."""
        job = worker_store.claim(self.eye, job_id=job_id, worker_id="worker", lease=timedelta(minutes=1))
        assert job
        if job.source_type == "s3_presigned":
            self.store(self.output_of(job))
        else:
            path = Path(self.output_of(job))
            path.parent.mkdir(parents=True)
            path.write_bytes(b"pixels")
        return job

    def output_of(self, job: ClaimedJob) -> str:
        """Where that worker stores it."""
        local = f"{self.root}/pixelflow-outputs/{job.job_id}/{job.lease_token}/small.webp"
        stored = f"outputs/{job.job_id}/{job.lease_token}/small.webp"
        return stored if job.source_type == "s3_presigned" else local

    def succeed(self, job_id: UUID) -> UUID:
        """Have a worker do it."""
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
        """Have a worker fail it."""
        assert worker_store.fail(self.eye, self.claim(job_id).lease, error=ERROR, stages={})
        return job_id

    def hand_back(self, job_id: UUID) -> UUID:
        """Have a worker try it and give up."""
        job = self.claim(job_id)
        delay = timedelta(0)
        assert worker_store.release(self.eye, job.lease, delay=delay, counted=False, error=None, stages={})
        return job_id

    def age(self, job_id: UUID, **by: float) -> UUID:
        """Let so much time have passed for the job and all that belongs to it."""
        for table, columns in AGES.items():
            shifted = ", ".join(f"{column} = {column} - %(by)s" for column in columns)
            self.eye.execute(
                f"UPDATE {table} SET {shifted} WHERE job_id = %(job_id)s",  # noqa: S608 - our own names
                {"by": timedelta(**by), "job_id": job_id},
            )
        return job_id

    # ── What is there ────────────────────────────────────────────────────────────────────────────

    def store(self, key: str) -> None:
        """Put an object."""
        obstore.put(self.bucket, key, b"pixels")

    def keys(self, job_id: UUID | None = None) -> set[str]:
        """Objects, of one job or all."""
        found = {meta["path"] for batch in obstore.list(self.bucket) for meta in batch}
        return {key for key in found if job_id is None or str(job_id) in key}

    def row(self, job_id: UUID) -> dict[str, Any] | None:
        """The job's."""
        return self.eye.execute("SELECT * FROM jobs WHERE job_id = %s", (job_id,)).fetchone()

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {table: len(self.eye.execute(f"SELECT FROM {table}").fetchall()) for table in TABLES}

    def everything(self) -> tuple[object, ...]:
        """All that is kept, to the letter."""
        rows = [
            sorted(str(row) for row in self.eye.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608 - our own names
            for table in TABLES
        ]
        return (rows, self.keys(), {path for path in self.root.rglob("*") if path.is_file()})

    # ── What removes it ──────────────────────────────────────────────────────────────────────────

    def tell(self, kind: RemovedKind, count: int) -> None:
        """As a metric would be told."""
        self.told[kind] += count

    def expirer(self, **days: float) -> Expirer:
        """An expirer, perhaps with other settings."""
        used = self.settings.model_copy(update={f"retention_{name}_days": value for name, value in days.items()})
        return Expirer(self.database, RetentionPeriods.of(used), removed=self.tell)

    def remover(self, **settings: object) -> Remover:
        """A remover, perhaps with other settings."""
        used = self.settings.model_copy(update=settings)
        return Remover(self.database, ObjectStorage(used), LocalFiles(used.local_roots), removed=self.tell)

    def sweeper(self) -> Sweeper:
        """A sweeper."""
        return Sweeper(self.database, keep=timedelta(days=self.settings.retention_history_days), removed=self.tell)

    def pruner(self) -> Pruner:
        """A pruner."""
        local_files = LocalFiles(self.settings.local_roots)
        return Pruner(self.database, ObjectStorage(self.settings), local_files, arrivals=self.settings.upload_grace)

    async def run(self, **days: float) -> int:
        """Every loop until none finds anything; returns how much they did."""
        loops: list[LoopBody] = [self.expirer(**days), self.remover(), self.pruner(), self.sweeper()]
        total = 0
        while done := sum([await loop.run_once() for loop in loops]):
            total += done
        return total


@pytest.fixture
def scene(quiet: Settings, async_database: AsyncDatabase, connection: Connection, tmp_path: Path) -> Iterator[Scene]:
    connection.execute("TRUNCATE idempotency_keys")
    update = {"local_roots": (tmp_path,), "retention_source_days": 10.0, "retention_output_days": 20.0}
    settings = quiet.model_copy(update=update)
    bucket = ObjectStorage(settings)._transfer_store
    obstore.delete(bucket, [meta["path"] for batch in obstore.list(bucket) for meta in batch])
    yield Scene(settings, async_database, connection, bucket, tmp_path)
    connection.execute("TRUNCATE jobs, usage_logs, idempotency_keys CASCADE")
