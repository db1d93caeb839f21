"""Sends the events of jobs that end to a URL on this machine, signed as webhooks. Asks the API; is never called by it.

For local testing: the event IDs are not those of the service, and an event that the URL does not accept is not retried.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

import httpx

from pixelflow.client import ApiError, Client, sign_webhook
from pixelflow.contracts.jobs.responses import Job
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.contracts.webhooks import SECRET_PREFIX, Event, EventType

POLL_SECONDS = 2.0
"""Between requests for the newest jobs: 30 a minute."""
MAX_NEW_JOBS = 1000
"""Jobs that are looked at in one poll. Of more that were created since the previous one, the oldest are missed."""
MAX_OPEN_JOBS = 20
"""Jobs that are asked for one by one in a poll, in turns, because they are older than the newest page."""
PAGE = 100
_TIMEOUT = 10.0
_SECRET_BYTES = 32
_TYPES: dict[str, EventType] = {
    JobStatus.SUCCEEDED: EventType.COMPLETED,
    JobStatus.FAILED: EventType.FAILED,
    JobStatus.CANCELED: EventType.CANCELED,
}


def new_secret() -> str:
    """Return a new secret to sign with."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


class Forwarder:
    """Watches the user's jobs. Close it, or use it in a ``with`` statement."""

    def __init__(self, client: Client, url: str, secret: str) -> None:
        self._client = client
        self._url = url
        self._secret = secret
        self._http = httpx.Client(timeout=_TIMEOUT, trust_env=False)
        self._ended: dict[UUID, datetime | None] = {}
        """When each job that was seen ended. ``None``: not yet. A job that is retried ends again."""
        self._since = datetime.min.replace(tzinfo=UTC)
        """When the last of the skipped jobs ended: older ones may appear when newer ones are erased."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def skip_finished(self) -> None:
        """Note the jobs that have ended already; only later ends are events."""
        self._newly_ended(limit=PAGE)
        self._since = max((ended for ended in self._ended.values() if ended), default=self._since)

    def run(self, echo: Callable[[str], None]) -> None:
        """Forward events until Ctrl-C. ``echo`` prints a line for each."""
        while True:
            self.run_once(echo)
            time.sleep(POLL_SECONDS)

    def run_once(self, echo: Callable[[str], None]) -> None:
        """Forward the events since the previous call."""
        for job_id in self._newly_ended(limit=MAX_NEW_JOBS):
            job = self._find(job_id)  # with new download URLs
            if job is not None and (type_ := _TYPES.get(job.status)):
                echo(f"{type_} of job {job_id}: {self._send(type_, job)}")

    def _newly_ended(self, *, limit: int) -> list[UUID]:
        listed = self._newest(limit)
        open_ = [job_id for job_id, ended in self._ended.items() if ended is None and job_id not in listed]
        jobs = [*listed.values(), *filter(None, map(self._find, open_[:MAX_OPEN_JOBS]))]
        ended = [job for job in jobs if job.finished_at and job.finished_at != self._ended.get(job.job_id)]
        for job in jobs:  # put at the end, so that each open job has its turn
            self._ended.pop(job.job_id, None)
            self._ended[job.job_id] = job.finished_at
        ended.sort(key=lambda job: job.finished_at or job.created_at)
        return [job.job_id for job in ended if job.finished_at and job.finished_at > self._since]

    def _find(self, job_id: UUID) -> Job | None:
        """Return the job; None if it was erased."""
        try:
            return self._client.get_job(job_id)
        except ApiError as error:
            if error.code != "not_found":
                raise
            self._ended.pop(job_id, None)
            return None

    def _newest(self, limit: int) -> dict[UUID, Job]:
        """The newest jobs: one page, and more as long as all of them are new."""
        found: dict[UUID, Job] = {}
        for job in self._client.iter_jobs(page_size=PAGE):
            if len(found) >= limit or (len(found) >= PAGE and job.job_id in self._ended):
                break
            found[job.job_id] = job
        return found

    def _send(self, type_: EventType, job: Job) -> str:
        event = Event(type=type_, timestamp=job.finished_at or datetime.now(UTC), data=job)
        body = event.model_dump_json(by_alias=True, exclude_unset=True).encode()
        headers = sign_webhook(body, f"msg_{uuid4().hex}", self._secret)
        try:
            response = self._http.post(self._url, content=body, headers={"Content-Type": "application/json", **headers})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"not accepted: {error}"
        return f"status {response.status_code}"
