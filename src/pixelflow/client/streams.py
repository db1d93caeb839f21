"""Event streams of jobs: parses them, and continues one that breaks. Does no I/O; the clients read the bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from pixelflow.client.api_calls import error_of
from pixelflow.client.errors import ConnectionFailedError
from pixelflow.client.models import Request, Response
from pixelflow.client.retries import MAX_ATTEMPTS, MAX_OUTAGE, backoff, is_transient, retry_after
from pixelflow.client.session import Session
from pixelflow.contracts.jobs.events import JobEvent, JobEventType
from pixelflow.contracts.jobs.states import FINISHED

MEDIA_TYPE = "text/event-stream"
MAX_LINE_BYTES = 1024 * 1024
"""Longest line of a stream. An event has less than a kilobyte, and an error message a few."""
_NO_CONTENT = 204


class StreamedEvent(JobEvent):
    """An event, with the ID after which another stream can continue."""

    id: str | None = None
    """The value of ``last_event_id`` for a stream of the same kind. ``None``: the API sent no ID."""


class EventReader:
    """The events of all jobs of the user, or of one job until it has finished, over as many connections as it takes.

    Within :meth:`connection`, send :meth:`request`, pass the response to :meth:`open` and its bytes to :meth:`feed`;
    outside of it, call :meth:`report_position` when the caller has handled an event. Wait for :meth:`pause` between
    connections, until it is :attr:`ended`.
    """

    def __init__(
        self,
        session: Session,
        job_id: UUID | str | None,
        last_event_id: str | None = None,
        on_position: Callable[[str], None] | None = None,
    ) -> None:
        self._session = session
        self._is_of_one_job = job_id is not None
        self._path = "/v1/events" if job_id is None else f"/v1/jobs/{UUID(str(job_id))}/events"
        self.last_event_id = last_event_id
        """From which another stream continues without a gap."""
        self._on_position = on_position
        self._reported = last_event_id
        self.ended = False
        self._failures = 0
        self._answered_at: float | None = None
        self._retry_after = 0.0
        self._rest = b""
        self._data: list[str] = []
        self._id: str | None = None

    def request(self) -> Request:
        """The request of the next connection."""
        self._rest, self._data, self._id = b"", [], self.last_event_id
        headers = self._session.headers() | {"Accept": MEDIA_TYPE}
        if self.last_event_id is not None:
            headers["Last-Event-ID"] = self.last_event_id
        return Request("GET", self._session.url(self._path), headers)

    def open(self, response: Response) -> None:
        """Look at the head of a response, or at all of it if it is an error.

        Raises:
            ApiError: the API rejected the request, and another attempt would not help.
        """
        if response.status == _NO_CONTENT:
            self.ended = True
        elif not response.succeeded:
            if not is_transient(response):
                raise error_of(response)
            self._count_failure(error_of(response))
            self._retry_after = retry_after(response) or 0.0
        elif not response.headers.get("content-type", "").startswith(MEDIA_TYPE):
            raise error_of(response)

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Make and read one connection within the context, which ends it without an error if it breaks.

        Raises:
            ConnectionFailedError: several times in a row; after events were received, for ``MAX_OUTAGE`` seconds.
        """
        try:
            yield
        except ConnectionFailedError as error:
            self._count_failure(error)

    def _count_failure(self, error: Exception) -> None:
        self._failures += 1
        is_outage = self._answered_at is not None and self._session.clock() - self._answered_at < MAX_OUTAGE
        if self._failures >= MAX_ATTEMPTS and not is_outage:
            raise error

    def pause(self) -> float:
        """Seconds to wait before the next connection."""
        seconds, self._retry_after = self._retry_after, 0.0
        return seconds + backoff(self._session, max(1, self._failures))

    def feed(self, chunk: bytes) -> Iterator[StreamedEvent | None]:
        """Yield the events that are complete with this chunk, and None where only the position may have changed.

        Raises:
            ConnectionFailedError: the response is no event stream.
        """
        *lines, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise ConnectionFailedError("The response is not an event stream", sent=True, transient=False)
        for line in lines:
            if line:
                self._take(line.decode("utf-8", "replace"))
            else:
                yield self._end_block()

    def report_position(self) -> None:
        """Tell the caller the position, if it has changed. What the caller's function raises breaks no connection."""
        if self._on_position and self.last_event_id and self.last_event_id != self._reported:
            self._on_position(self.last_event_id)
            self._reported = self.last_event_id

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name == "id":
            self._id = value.strip()
        elif name == "data":
            self._data.append(value.removeprefix(" "))

    def _end_block(self) -> StreamedEvent | None:
        self._failures, self._answered_at = 0, self._session.clock()
        data, self._data = "\n".join(self._data), []
        self.last_event_id = self._id
        return self._parse(data) if data else None

    def _parse(self, data: str) -> StreamedEvent | None:
        try:
            event = StreamedEvent.model_validate(json.loads(data) | {"id": self.last_event_id})
        except (ValueError, TypeError, RecursionError):
            return None  # not of this format: a later version may send others
        is_last = event.type == JobEventType.ERASED or event.status in FINISHED
        self.ended = self.ended or (self._is_of_one_job and is_last)
        return event
