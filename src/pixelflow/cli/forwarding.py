"""Sends the events of jobs and batches that end to a URL on this machine, signed as webhooks.

Asks the API; is never called by it. For local testing: the event IDs are not those of the service, and an event that
the URL does not accept is not retried.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar
from uuid import UUID, uuid4

import httpx

from pixelflow.client import ApiError, Client, sign_webhook
from pixelflow.contracts.batches import Batch, BatchSummary
from pixelflow.contracts.jobs.responses import Job
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.contracts.webhooks import SECRET_PREFIX, BatchEvent, Event, EventType

POLL_SECONDS = 2.0
"""Between requests for the newest jobs and batches: 60 a minute."""
MAX_NEW = 1000
"""Jobs, or batches, that are looked at in one poll. Of more that are new since the previous one, the oldest are missed.
"""
MAX_OPEN = 20
"""Those that are asked for one by one in a poll, in turns, because they are older than the newest page."""
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


class _Ending(Protocol):
    """A job or a batch."""

    @property
    def created_at(self) -> datetime: ...

    @property
    def finished_at(self) -> datetime | None: ...


T = TypeVar("T", bound=_Ending)


class _Ends(Generic[T]):
    """Finds the jobs, or the batches, that have ended since the previous call."""

    def __init__(
        self, newest: Callable[[], Iterator[T]], find: Callable[[UUID], T], id_of: Callable[[T], UUID]
    ) -> None:
        """``newest`` iterates over all of them, newest first; ``find`` raises ``ApiError`` if one was deleted."""
        self._newest = newest
        self._get = find
        self._id_of = id_of
        self._ended: dict[UUID, datetime | None] = {}
        """When each that was seen ended. ``None``: not yet. A job that is retried ends again."""
        self._since = datetime.min.replace(tzinfo=UTC)
        """When the last of the skipped ones ended: older ones may appear when newer ones are deleted."""

    def skip(self) -> None:
        """Note those that have ended already; only later ends are events."""
        self.find_new(limit=PAGE)
        self._since = max((ended for ended in self._ended.values() if ended), default=self._since)

    def find_new(self, *, limit: int) -> list[UUID]:
        """Return those that ended since the previous call, the first one first."""
        listed = self._list(limit)
        open_ = [each for each, ended in self._ended.items() if ended is None and each not in listed]
        found = [*listed.values(), *filter(None, map(self.find, open_[:MAX_OPEN]))]
        ended = [each for each in found if each.finished_at and each.finished_at != self._ended.get(self._id_of(each))]
        for each in found:  # put at the end, so that each open one has its turn
            self._ended.pop(self._id_of(each), None)
            self._ended[self._id_of(each)] = each.finished_at
        ended.sort(key=lambda each: each.finished_at or each.created_at)
        return [self._id_of(each) for each in ended if each.finished_at and each.finished_at > self._since]

    def find(self, id_: UUID) -> T | None:
        """Return it as it is now; None if it was deleted."""
        try:
            return self._get(id_)
        except ApiError as error:
            if error.code != "not_found":
                raise
            self._ended.pop(id_, None)
            return None

    def _list(self, limit: int) -> dict[UUID, T]:
        """The newest: one page, and more as long as all of them are new."""
        found: dict[UUID, T] = {}
        for each in self._newest():
            if len(found) >= limit or (len(found) >= PAGE and self._id_of(each) in self._ended):
                break
            found[self._id_of(each)] = each
        return found


class Forwarder:
    """Watches the user's jobs and batches. Close it, or use it in a ``with`` statement."""

    def __init__(self, client: Client, url: str, secret: str) -> None:
        self._client = client
        self._url = url
        self._secret = secret
        self._http = httpx.Client(timeout=_TIMEOUT, trust_env=False)
        self._jobs = _Ends[Job](lambda: client.iter_jobs(page_size=PAGE), client.get_job, lambda job: job.job_id)
        self._batches = _Ends[BatchSummary](
            lambda: client.iter_batches(page_size=PAGE), client.get_batch, lambda batch: batch.batch_id
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def skip_finished(self) -> None:
        """Note the jobs and batches that have ended already; only later ends are events."""
        self._jobs.skip()
        self._batches.skip()

    def run(self, echo: Callable[[str], None]) -> None:
        """Forward events until Ctrl-C. ``echo`` prints a line for each."""
        while True:
            self.run_once(echo)
            time.sleep(POLL_SECONDS)

    def run_once(self, echo: Callable[[str], None]) -> None:
        """Forward the events since the previous call."""
        for job_id in self._jobs.find_new(limit=MAX_NEW):
            job = self._jobs.find(job_id)  # with new download URLs
            if job is not None and (type_ := _TYPES.get(job.status)):
                event = Event(type=type_, timestamp=job.finished_at or datetime.now(UTC), data=job)
                echo(f"{type_} of job {job_id}: {self._send(event)}")
        for batch_id in self._batches.find_new(limit=MAX_NEW):
            batch = self._batches.find(batch_id)  # with the number of its jobs
            if isinstance(batch, Batch) and batch.finished_at:
                ended = BatchEvent(type="batch.finished", timestamp=batch.finished_at, data=batch)
                echo(f"{ended.type} of batch {batch_id}: {self._send(ended)}")

    def _send(self, event: Event | BatchEvent) -> str:
        body = event.model_dump_json(by_alias=True, exclude_unset=True).encode()
        headers = sign_webhook(body, f"msg_{uuid4().hex}", self._secret)
        try:
            response = self._http.post(self._url, content=body, headers={"Content-Type": "application/json", **headers})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"not accepted: {error}"
        return f"status {response.status_code}"
