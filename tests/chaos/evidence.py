"""What a run left behind: rows, objects, log lines, processes. Reads only; judges nothing."""

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
from tests.chaos.stage import Stage

REACH = "-c pixelflow.reach=everyone"
"""Row-level security shows the rows of everybody to whoever says so."""
TABLES = {"attempts": "attempt", "outputs": "position", "usage_logs": "created_at", "events": "run"}
"""What is kept of a job, in which order."""
UNFORESEEN = ("Traceback (most recent call last)", "failed unexpectedly", "loop failed", "lease renewal failed")
"""What no log line of a process may say, whatever dies around it."""


def open_database(stage: Stage) -> psycopg.Connection[dict[str, Any]]:
    """The stage's database, in autocommit, with the rows of all users."""
    url = stage.environment["PIXELFLOW_DATABASE_URL"]
    return psycopg.connect(url, autocommit=True, row_factory=dict_row, options=REACH, connect_timeout=5)


@dataclass(frozen=True)
class JobEvidence:
    """Everything that is kept of one job."""

    row: Mapping[str, Any]
    attempts: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    usage: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]

    @property
    def status(self) -> str:
        """As in the row."""
        return str(self.row["status"])

    @property
    def is_erased(self) -> bool:
        """Whether the row is a tombstone."""
        return self.row["erased_at"] is not None


@dataclass(frozen=True)
class Evidence:
    """Everything that is kept."""

    jobs: Mapping[str, JobEvidence]
    stray_usage: int
    """Usage rows of no job."""
    objects: Mapping[str, int]
    """Bytes by key."""


def collect(stage: Stage) -> Evidence:
    """Read the tables and list the bucket."""
    with open_database(stage) as connection:
        tables = {table: _by_job(connection, table, order) for table, order in TABLES.items()}
        rows = connection.execute("SELECT * FROM jobs ORDER BY created_at").fetchall()
    jobs = {str(row["job_id"]): JobEvidence(row, *(tables[name][row["job_id"]] for name in tables)) for row in rows}
    stray = sum(str(job_id) not in jobs for job_id in tables["usage_logs"])
    objects = {meta["path"]: meta["size"] for batch in bucket(stage).list() for meta in batch}
    return Evidence(jobs, stray, objects)


def _by_job(connection: psycopg.Connection[dict[str, Any]], table: str, order: str) -> dict[UUID, list[dict[str, Any]]]:
    found: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall():  # noqa: S608 - our own names
        found[row["job_id"]].append(row)
    return found


def bucket(stage: Stage) -> S3Store:
    """The stage's object storage, past PixelFlow."""
    settings = stage.settings
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
           (SELECT count(*) FROM jobs WHERE purge_at <= now()) AS erasures
"""


def unsettled(stage: Stage) -> Mapping[str, int]:
    """What the system still has to do."""
    with open_database(stage) as connection:
        row = connection.execute(_UNSETTLED).fetchone()
    return row or {}


def database_clock_ahead(stage: Stage) -> float:
    """Seconds by which the database's clock is ahead of this process's."""
    with open_database(stage) as connection:
        row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
    now: datetime = (row or {})["now"]
    return now.timestamp() - time.time()


def unforeseen_lines(logs: Path) -> list[str]:
    """Lines in which a process of PixelFlow's own speaks of something that it has no name for."""
    found = []
    for log in sorted(logs.glob("*.log")):
        if log.name.startswith(("api", "controller", "worker")):
            lines = log.read_text(errors="replace").splitlines()
            found += [f"{log.name}: {line[:2000]}" for line in lines if any(words in line for words in UNFORESEEN)]
    return found


def refusals_by_fence(logs: Path) -> int:
    """How often a worker said that what it wanted to write was no longer its to write."""
    count = 0
    for log in logs.glob("worker*.log"):
        for line in log.read_text(errors="replace").splitlines():
            count += line.startswith("{") and json.loads(line).get("event", "").startswith("attempt aborted")
    return count
