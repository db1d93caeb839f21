"""What a start of a job returns if the job can't be moved to the queue."""

from __future__ import annotations

from uuid import UUID

from pixelflow.contracts.jobs.responses import StartedJob
from pixelflow.contracts.jobs.states import FINISHED, JobStatus
from pixelflow.contracts.messages import QUEUE, task_id_of
from pixelflow.controlplane.jobs.transitions import JobState
from pixelflow.errors import JobAlreadyFinishedError, SourceMissingError

ENDED: dict[str, str] = {
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "been canceled",
}
"""What a job that has ended has done."""


def already_started(job_id: UUID, job: JobState) -> StartedJob:
    """Return the response to another start of the job.

    Raises:
        JobAlreadyFinishedError: it has ended.
    """
    if job.status in FINISHED or job.queued_at is None:
        raise JobAlreadyFinishedError(f"The job has {ENDED.get(job.status, 'ended')} meanwhile")
    return StartedJob(
        job_id=job_id,
        status=JobStatus(job.status),
        queue=QUEUE,
        task_id=task_id_of(job_id, job.run),
        enqueued_at=job.queued_at,
    )


def check_not_expired(job: JobState) -> None:
    """Raise if the source has expired. An expired object may still exist, but its deletion is scheduled."""
    if job.source_expired_at is not None:
        raise SourceMissingError("The source has expired and is deleted; create a new job")
    if not job.file_exists:
        raise source_missing(job)


def source_missing(job: JobState) -> SourceMissingError:
    """Return the error of a job without a file."""
    if job.source_job_id is not None:
        return SourceMissingError(
            f"The file of the job {job.source_job_id} has expired or was erased; create a new job with an upload"
        )
    return SourceMissingError("Upload the source to the URL that creating the job returned, then start the job again")
