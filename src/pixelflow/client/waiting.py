"""Waiting for the end of a job, shared by both clients. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from pixelflow.client.api_calls import job_path
from pixelflow.client.arguments import to_seconds
from pixelflow.client.errors import ApiError, JobFailedError, WaitTimeoutError
from pixelflow.client.models import Operation, Sleep
from pixelflow.client.outages import OutageTolerantReads
from pixelflow.client.session import Session
from pixelflow.contracts.jobs.responses import Job
from pixelflow.contracts.jobs.states import FINISHED, JobStatus

POLL_INTERVAL = 0.05
"""Seconds before the second poll of a job; a small image takes less."""
POLL_GROWTH = 1.5
MAX_POLL_INTERVAL = 2.0
"""Seconds."""
LONG_POLL_SECONDS = 20.0
"""Longest time that one request waits for the end of a job: less than the timeout of the clients."""


def wait(
    session: Session,
    job_id: UUID | str,
    *,
    timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    on_change: Callable[[Job], None] | None = None,
) -> Operation[Job]:
    """Wait until a job succeeds, and return it.

    The API responds when the job has finished. If it can't, because it is older or serves too many such requests, the
    job is polled at growing intervals. The wait goes on while the API is away for up to a minute, as when it restarts.
    A status that this version does not know counts as not finished while ``finished_at`` is not set.

    Args:
        session: of the client.
        job_id: ID of a started job.
        timeout: seconds; None waits without a limit.
        poll_interval: seconds between the first looks at the job with ``on_change``; grows to 2 s.
        on_change: called with the job whenever its status or its number of attempts has changed at a look.

    Raises:
        JobFailedError: the job failed or was canceled, or it has finished with an unknown status.
        WaitTimeoutError: the job did not finish in time; it continues.
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    timeout = to_seconds(timeout, "timeout")
    looks = _Looks(session, job_id, timeout)
    last = None
    seconds, looked = 0.0 if on_change else LONG_POLL_SECONDS, False
    while True:
        job = yield from looks.look(seconds, pause=poll_interval)
        if on_change and last != (last := (job.status, job.attempts)):
            on_change(job)
        if job.status == JobStatus.SUCCEEDED:
            return job
        if _has_ended(job):
            raise JobFailedError(job)
        if timeout is not None and looks.reads.left() <= 0:
            raise WaitTimeoutError(job, timeout)
        if on_change:
            seconds = poll_interval
        if looked:
            poll_interval = min(poll_interval * POLL_GROWTH, MAX_POLL_INTERVAL)
        looked = True


class _Looks:
    """Looks at a job until it has finished."""

    def __init__(self, session: Session, job_id: UUID | str, timeout: float | None) -> None:
        self.reads = OutageTolerantReads(session, timeout)
        self._session = session
        self._path = job_path(job_id)
        self._may_wait = True
        self._must_pause = False

    def look(self, seconds: float, *, pause: float) -> Operation[Job]:
        """Return the job: when it has finished, at most ``seconds`` later; after ``pause`` if the API does not wait."""
        if self._must_pause:
            yield Sleep(max(0.0, min(pause, self.reads.left())))
        wait_seconds, began = round(max(0.0, min(seconds, self.reads.left())), 3), self._session.clock()
        if self._may_wait and wait_seconds:
            try:
                job = yield from self._get({"wait": f"{wait_seconds:g}"})
            except ApiError as error:
                if not _is_without_wait(error):
                    raise
                self._may_wait = False
            else:
                self._must_pause = self._session.clock() - began < wait_seconds / 2  # it did not wait
                return job
        self._must_pause = not self._may_wait
        return (yield from self._get({}))

    def _get(self, query: Mapping[str, object]) -> Operation[Job]:
        return (yield from self.reads.get(self._path, Job, query=query, final={"too_many_streams"}))


def _is_without_wait(error: ApiError) -> bool:
    """Whether the API does not know the parameter `wait`, or has no place for a request that waits."""
    is_unknown = any(each.pointer == "/query/wait" for each in error.errors)
    return is_unknown or error.code == "too_many_streams"


def _has_ended(job: Job) -> bool:
    is_known = isinstance(job.status, JobStatus)
    return job.status in FINISHED if is_known else job.finished_at is not None
