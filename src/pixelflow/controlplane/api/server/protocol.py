"""One HTTP/1.1 connection: uvicorn's, with deadlines, limits and refusals.

Adds no work to the response: only the reading of requests is restricted.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any
from uuid import uuid4

import httptools
import structlog
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.middleware import BODY_TIMED_OUT, MARK_HELD
from pixelflow.controlplane.api.server.connections import Connections, client_of
from pixelflow.controlplane.api.server.refusal import refusal_of
from pixelflow.controlplane.api.server.request_head import MAX_HEAD_BYTES, MAX_HEADERS, check_head, too_large
from pixelflow.controlplane.api.server.unread import UnreadDeadline
from pixelflow.errors import BodyTooLargeError, InvalidHttpError, PixelflowError, RequestTimeoutError

_SLICE_BYTES = MAX_HEAD_BYTES
"""Data is parsed in slices, so that a head that is too large is noticed before more of it is kept."""
_MAX_BODY_PIECES = 5000
"""Pieces of one body, as they arrive or in chunks: parsing 5000 takes about 5 ms. There is no limit of bytes here: the
middleware has one, and what a client sends beyond its answer is dropped until the deadline, so that one that sends all
before it reads gets the answer."""
_MAX_PIPELINED = 16
"""Requests that wait on one connection. Each has a few kilobytes of state, but can be 20 bytes on the wire."""
_LINGER_SECONDS = 2.0
"""From a refusal to the end of the connection. Closing at once would reset it, and the client would lose the answer
(RFC 9112, section 9.6)."""

_log = structlog.get_logger("pixelflow.access")


class _Reading(Enum):
    """What the server reads at present."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class ApiProtocol(HttpToolsProtocol):
    """A connection."""

    def __init__(self, *args: Any, connections: Connections, metrics: ApiMetrics, **kwargs: Any) -> None:  # noqa: ANN401  # uvicorn's
        super().__init__(*args, **kwargs)
        self._open = connections
        self._limits = connections.limits
        self._metrics = metrics
        self.peer = ""
        self._reading = _Reading.NOTHING
        self._deadline = math.inf
        """In the event loop's time: of what is read, or of the refused connection."""
        self._unread = UnreadDeadline()
        self._refused = False
        self._is_held = False
        self._running: RequestResponseCycle | None = None
        """The latest request that the application works on; ``cycle`` is the latest that has arrived."""
        self._last_answer: PixelflowError | None = None
        """Sent once earlier requests are answered."""
        self._head_bytes: int | None = None
        """Of the head that is read; None: it began within the present slice."""
        self._body_pieces = 0

    # ── The connection ───────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401  # uvicorn's
        """Admit or refuse the connection. Its first request must begin within the deadline for headers."""
        super().connection_made(transport)
        self.client = client_of(self.client, self.server)
        self.peer = self._open.peer_of(self.client[0] if self.client else None)
        self._set_deadline(self._limits.header_seconds)
        refusal = self._open.admit(self)
        self._metrics.connections_open(len(self._open))
        if refusal is not None:  # never lingers: connections over the limit must not add up
            self._refused = True
            self._metrics.connection_closed(refusal.code)
            self.transport.write(refusal_of(refusal, uuid4().hex))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._disconnect_running()
        self._open.remove(self)
        self._metrics.connections_open(len(self._open))
        # These refer to the connection: in a circle, they would wait for the garbage collector, which stops the loop.
        self.scope = self.cycle = self._running = None  # type: ignore[assignment]

    def _disconnect_running(self) -> None:
        """End the request that others wait behind, too, and drop these. It would write to the closed transport."""
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def evict(self) -> None:
        """Close the idle connection, for a new one."""
        self._metrics.connection_closed("evicted")
        self.transport.abort()

    # ── Reading requests ─────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; refuse the request if it is invalid."""
        if self._reading is _Reading.NOTHING and not self._refused:
            self._reading, self._head_bytes = _Reading.HEAD, 0
            self._set_deadline(self._limits.header_seconds)
        for start in range(0, len(data), _SLICE_BYTES):
            piece = data[start : start + _SLICE_BYTES]
            if not self._refused:
                self._parse(piece)
            if self._reading is _Reading.HEAD and not self._refused:
                self._count_head(len(piece))

    def _count_head(self, size: int) -> None:
        """Bound a head that is not complete. ``check_head`` measures a complete one exactly."""
        self._head_bytes = 0 if self._head_bytes is None else self._head_bytes + size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(too_large())

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:  # ignored, as a server may (RFC 9110, section 7.8)
            self._parse(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(
                cause
                if isinstance(cause, PixelflowError)
                else InvalidHttpError("The request is not valid HTTP/1.1 (RFC 9112)")
            )

    def on_message_begin(self) -> None:
        """A request line has begun."""
        super().on_message_begin()
        if self._reading is _Reading.NOTHING:  # in the slice that ends the request before
            self._reading, self._head_bytes = _Reading.HEAD, None
            self._set_deadline(self._limits.header_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; a trailer, which would be taken for one, is dropped."""
        if self._reading is not _Reading.HEAD:
            return
        if len(self.headers) >= MAX_HEADERS:
            raise too_large()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head, and start the request."""
        check_head(self.parser.get_http_version(), self.url, self.headers)
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise InvalidHttpError(f"At most {_MAX_PIPELINED} requests may wait on a connection")
        self.scope["state"][MARK_HELD] = self._mark_held
        super().on_headers_complete()
        if not self._is_held:
            self._open.mark_busy(self)
        self._reading, self._body_pieces = _Reading.BODY, 0
        self._set_deadline(self._limits.body_seconds)

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._body_pieces += 1
        if self._body_pieces > _MAX_BODY_PIECES:
            raise BodyTooLargeError("The body is sent in too many chunks")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        super().on_message_complete()
        self._reading, self._deadline = _Reading.NOTHING, math.inf
        if self._is_answered():
            self._await_request()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # ── Responses ────────────────────────────────────────────────────────────────────────────────

    def on_response_complete(self) -> None:
        """Start the next request, or wait for it. Replaces uvicorn's timer of idle connections."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._await_reader()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._open.mark_idle(self)
        if self._refused:
            self._end(self._last_answer)
        elif self._reading is _Reading.NOTHING:
            self._await_request()

    def _mark_held(self, held: bool) -> None:
        """Nothing is done for a held request, so its connection gives way to new ones, with all requests behind it."""
        self._is_held = held
        if held:
            self._open.mark_idle(self)
        else:
            self._open.mark_busy(self)

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._unread.clear()

    def _await_reader(self) -> None:
        self._unread.start(self.loop.time(), self.transport.get_write_buffer_size())

    # ── Deadlines ────────────────────────────────────────────────────────────────────────────────

    def expire(self, now: float) -> None:
        """Apply the deadlines. Called several times a second; a timer for each request would cost more."""
        if self._unread.is_due(now) and self._unread.has_passed(now, self.transport.get_write_buffer_size()):
            self._metrics.connection_closed("unread")
            self.transport.abort()
        elif now > self._deadline:
            self._expire_reading()

    def _expire_reading(self) -> None:
        if self._refused:
            self.transport.abort()
        elif self._reading is _Reading.NOTHING:
            self.transport.close()
        elif self.flow.read_paused or (self._reading is _Reading.HEAD and not self._is_answered()):
            self._set_deadline(self._limits.body_seconds)  # it is the server that does not read
        elif self._reading is _Reading.BODY and not self._is_answered() and not self._body_timed_out():
            self._time_out_body()
        else:
            self._refuse(RequestTimeoutError("The request did not arrive in time; send it again"))

    def _body_timed_out(self) -> bool:
        return BODY_TIMED_OUT in self.cycle.scope["state"]

    def _time_out_body(self) -> None:
        """Let the application answer, log and count the request; it does when it reads the body."""
        self.cycle.scope["state"][BODY_TIMED_OUT] = True
        self.cycle.keep_alive = False
        self.cycle.message_event.set()
        self._set_deadline(_LINGER_SECONDS)

    def _await_request(self) -> None:
        self._set_deadline(self._limits.keep_alive_seconds)

    def _set_deadline(self, seconds: float) -> None:
        self._deadline = self.loop.time() + seconds

    def _is_answered(self) -> bool:
        """Whether there is no request that the application works on, or that waits."""
        return not self.pipeline and (self.cycle is None or self.cycle.response_complete)

    # ── Refusals ─────────────────────────────────────────────────────────────────────────────────

    def _refuse(self, error: PixelflowError) -> None:
        """Read no further request; answer the present one once those before it are answered."""
        self._refused = True
        self._deadline = math.inf  # of what is read; the end has its own, once requests before it are answered
        self._metrics.connection_closed(error.code)
        in_body = self._reading is _Reading.BODY
        if self._is_answered():
            self._end(None if in_body else error)
        elif in_body and not self.pipeline:
            self._refuse_running(error)
        else:
            self._last_answer = error
            if in_body:
                self.pipeline.popleft()  # the request that is refused waits itself

    def _refuse_running(self, error: PixelflowError) -> None:
        if self.cycle.response_started:
            return  # the application needs no body: its response is the answer
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self._end(error)

    def _end(self, error: PixelflowError | None) -> None:
        """Answer, send no more, and drop what the client still sends until it closes or the time is over."""
        if error is not None:
            request_id = uuid4().hex
            _log.info("request refused", request_id=request_id, code=error.code)
            self.transport.write(refusal_of(error, request_id))
        self._open.mark_idle(self)
        self._set_deadline(_LINGER_SECONDS)
        self.flow.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()
