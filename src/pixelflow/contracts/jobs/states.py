"""The state machine of jobs."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """The status of a job."""

    CREATED = "created"
    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    # The client starts or cancels it; a controller starts it, or fails it if it can't run with its source.
    JobStatus.CREATED: frozenset({JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELED}),
    # A worker claims it.
    JobStatus.QUEUED: frozenset({JobStatus.PROCESSING, JobStatus.CANCELED}),
    # The worker finishes or releases it; the lease reaper requeues it when the worker's lease expires.
    JobStatus.PROCESSING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.QUEUED, JobStatus.CANCELED}),
    JobStatus.SUCCEEDED: frozenset(),
    # Its owner retries it.
    JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
    JobStatus.CANCELED: frozenset({JobStatus.QUEUED}),
}
"""The state machine: for each status, the statuses that may follow. No other transition is ever written."""

FINISHED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})
"""Final statuses."""


class AttemptResult(StrEnum):
    """How an attempt at a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The job failed with it."""
    RETRIED = "retried"
    """Another attempt follows. Without an error, the worker was stopped."""
    LOST = "lost"
    """The worker died, or did not renew its lease."""
    CANCELED = "canceled"


class Priority(StrEnum):
    """The priority of a job among the jobs of its user."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


PRIORITY_RANKS: dict[Priority, int] = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
"""As the database stores them: the lowest rank is processed first."""
