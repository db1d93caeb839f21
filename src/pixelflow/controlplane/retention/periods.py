"""Retention periods, and the time at which a job expires for its owner. Pure: deletes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.jobs.store import JobRow
from pixelflow.settings import Settings


@dataclass(frozen=True)
class RetentionPeriods:
    """How long files, jobs and history are kept; ``None``: without a limit."""

    source: timedelta | None
    """From the end of the job, as are the next two."""
    output: timedelta | None
    job: timedelta | None
    upload: timedelta
    """From the creation of a job that is never started."""
    upload_grace: timedelta
    """From the end of a job until no more files of it can arrive."""
    history: timedelta
    """Of events, deliveries and attempts."""

    @classmethod
    def of(cls, settings: Settings) -> RetentionPeriods:
        """The periods from the settings. Files are deleted with their job at the latest."""
        job = _days(settings.retention_job_days)
        return cls(
            source=_days(settings.retention_source_days) or job,
            output=_days(settings.retention_output_days) or job,
            job=job,
            upload=timedelta(days=settings.retention_upload_days),
            upload_grace=settings.upload_grace,
            history=timedelta(days=settings.retention_history_days),
        )

    def expiry_of(self, row: JobRow) -> datetime | None:
        """When a job in its present status expires: it was never started, its outputs expire, or it can't be retried.

        ``None``: the job is queued or being processed, or it is kept without a limit.
        """
        match row.status:
            case JobStatus.CREATED:
                return row.created_at + self.upload
            case JobStatus.SUCCEEDED:
                return row.outputs_expired_at or _after(row.finished_at, self.output)
            case JobStatus.CANCELED if row.queued_at is None and row.source_type == SourceType.S3_PRESIGNED:
                unused = row.created_at + self.upload
                return row.source_expired_at or min(unused, _after(row.finished_at, self.source) or unused)
            case JobStatus.FAILED | JobStatus.CANCELED:
                is_upload = row.source_type == SourceType.S3_PRESIGNED
                return row.source_expired_at or _after(row.finished_at, self.source if is_upload else self.job)
        return None


def _days(days: float | None) -> timedelta | None:
    return None if days is None else timedelta(days=days)


def _after(moment: datetime | None, period: timedelta | None) -> datetime | None:
    return moment + period if moment and period else None
