"""Evidence of a run: rows, objects and log lines. Read-only, without checks."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from obstore.store import S3Store
from psycopg.rows import dict_row
from tests.chaos.cluster import Cluster

from pixelflow.controlplane.retention import gc

TENANT_SCOPE = "-c pixelflow.tenant_scope=everyone"
"""Tenant scope in which row-level security shows the rows of all users."""
TABLES = {"attempts": "attempt", "outputs": "position", "usage_logs": "created_at", "events": "run"}
"""Table of a job's rows → their order."""
UNEXPECTED = ("Traceback (most recent call last)", "failed unexpectedly", "loop failed", "lease renewal failed")
"""Texts that no log line may contain, whatever fault occurs."""


def open_database(cluster: Cluster) -> psycopg.Connection[dict[str, Any]]:
    """The cluster's database, in autocommit, with the rows of all users."""
    url = cluster.environment["PIXELFLOW_DATABASE_URL"]
    return psycopg.connect(url, autocommit=True, row_factory=dict_row, options=TENANT_SCOPE, connect_timeout=5)


@dataclass(frozen=True)
class JobEvidence:
    """All rows of one job."""

    row: Mapping[str, Any]
    attempts: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    usage: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]

    @property
    def status(self) -> str:
        """The job's status."""
        return str(self.row["status"])

    @property
    def is_erased(self) -> bool:
        """Whether the row is a tombstone."""
        return self.row["erased_at"] is not None


@dataclass(frozen=True)
class StoredObject:
    """An object in the bucket."""

    bytes: int
    last_modified: datetime
    """In whole seconds, rounded down."""


@dataclass(frozen=True)
class Evidence:
    """All rows and objects."""

    jobs: Mapping[str, JobEvidence]
    orphan_usage: int
    """Number of usage rows without a job."""
    objects: Mapping[str, StoredObject]
    """By key."""


def collect(cluster: Cluster) -> Evidence:
    """Read the tables and list the bucket."""
    with open_database(cluster) as connection:
        tables = {table: _by_job(connection, table, order) for table, order in TABLES.items()}
        rows = connection.execute(
            "SELECT *, EXISTS (SELECT FROM pending_deletions AS p WHERE p.job_id = jobs.job_id AND kind = 'job'"
            " AND due_at <= now() + %s) AS awaits_deletion FROM jobs ORDER BY created_at",
            (gc.LEASE,),  # a deletion in progress; one that was done once is due again after the upload's grace, hours
        ).fetchall()
    jobs = {str(row["job_id"]): JobEvidence(row, *(tables[name][row["job_id"]] for name in tables)) for row in rows}
    stray = sum(str(job_id) not in jobs for job_id in tables["usage_logs"])
    objects = {
        meta["path"]: StoredObject(meta["size"], meta["last_modified"].replace(microsecond=0))
        for batch in bucket(cluster).list()
        for meta in batch
    }
    return Evidence(jobs, stray, objects)


def _by_job(connection: psycopg.Connection[dict[str, Any]], table: str, order: str) -> dict[UUID, list[dict[str, Any]]]:
    found: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall():  # noqa: S608 - our own names
        found[row["job_id"]].append(row)
    return found


def bucket(cluster: Cluster) -> S3Store:
    """Return the cluster's object storage, bypassing PixelFlow."""
    settings = cluster.settings
    assert settings.s3_secret_access_key
    return S3Store(
        settings.s3_bucket,
        endpoint=settings.s3_endpoint_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key.get_secret_value(),
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


_UNSETTLED = """
    SELECT (SELECT count(*) FROM jobs WHERE status IN ('queued', 'processing')) AS jobs,
           (SELECT count(*) FROM events WHERE status = 'pending') AS events,
           (SELECT count(*) FROM pending_deletions WHERE kind = 'job' AND due_at <= now() + %s) AS erasures
"""


def unsettled(cluster: Cluster) -> Mapping[str, int]:
    """Return the number of jobs, events and erasures still to be processed."""
    with open_database(cluster) as connection:
        row = connection.execute(_UNSETTLED, (gc.LEASE,)).fetchone()
    return row or {}


def database_clock_ahead(cluster: Cluster) -> float:
    """Return the seconds by which the database's clock is ahead of this process's clock."""
    with open_database(cluster) as connection:
        row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
    now: datetime = (row or {})["now"]
    return now.timestamp() - time.time()


def unexpected_lines(logs: Path) -> list[str]:
    """Return the log lines of PixelFlow processes that report an unexpected error."""
    found = []
    for log in sorted(logs.glob("*.log")):
        if log.name.startswith(("api", "controller", "worker")):
            lines = log.read_text(errors="replace").splitlines()
            found += [f"{log.name}: {line[:2000]}" for line in lines if any(words in line for words in UNEXPECTED)]
    return found


def fenced_writes(logs: Path) -> int:
    """Count the log lines in which a worker reports a write rejected by the lease fence."""
    count = 0
    for log in logs.glob("worker*.log"):
        for line in log.read_text(errors="replace").splitlines():
            count += line.startswith("{") and json.loads(line).get("event", "").startswith("attempt aborted")
    return count
