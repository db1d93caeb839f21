"""For how long things are kept, and when a job's owner can no longer use it. Pure: removes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pixelflow.contracts.jobs import JobStatus, SourceType
from pixelflow.controlplane.jobs.store import JobRow
from pixelflow.settings import Settings


@dataclass(frozen=True)
class RetentionPeriods:
    """For how long things are kept; ``None``: for good."""

    source: timedelta | None
    """From the end of the job, as the next two."""
    output: timedelta | None
    job: timedelta | None
    upload: timedelta
    """From the creation of a job that is never started."""
    history: timedelta

    @classmethod
    def of(cls, settings: Settings) -> RetentionPeriods:
        """What the operator has set; files go with their job, at the latest."""
        job = _days(settings.retention_job_days)
        return cls(
            source=_days(settings.retention_source_days) or job,
            output=_days(settings.retention_output_days) or job,
            job=job,
            upload=timedelta(days=settings.retention_upload_days),
            history=timedelta(days=settings.retention_history_days),
        )

    def expiry_of(self, row: JobRow) -> datetime | None:
        """When a job that stays as it is becomes of no use: never started, its outputs gone, or not to be retried.

        ``None``: it is on its way, or kept for good.
        """
        match row.status:
            case JobStatus.CREATED:
                return row.created_at + self.upload
            case JobStatus.SUCCEEDED:
                return row.outputs_expired_at or _after(row.finished_at, self.output)
            case JobStatus.FAILED | JobStatus.CANCELED:
                is_upload = row.source_type == SourceType.S3_PRESIGNED
                return row.source_expired_at or _after(row.finished_at, self.source if is_upload else self.job)
        return None


def _days(days: float | None) -> timedelta | None:
    return None if days is None else timedelta(days=days)


def _after(moment: datetime | None, period: timedelta | None) -> datetime | None:
    return moment + period if moment and period else None
