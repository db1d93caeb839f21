"""Events → their receivers, signed, until they are taken or there is no use.

A slow receiver holds its own few places and nobody else's: deliveries run beside one another, and a round takes only
what hosts and users below their bounds have due. Nothing is lost by a death: what was in hand is due again when its
lease is over. Nothing goes on for ever: a try that a bug ends counts, too. Never touches a job.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Tracer
from standardwebhooks import Webhook

from pixelflow import __version__
from pixelflow.adapters.outbound_http import HttpResponse, OutboundHttp
from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.adapters.telemetry.tracing import Attributes, log_keys, set_error, start_span, traceparent_of
from pixelflow.contracts.errors import DependencyError, NotFoundError, PixelflowError, TargetError
from pixelflow.contracts.jobs import Job
from pixelflow.contracts.webhooks import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, DeliveryOutcome, Event
from pixelflow.controlplane.encryption import DecryptionError
from pixelflow.controlplane.webhooks import store
from pixelflow.controlplane.webhooks.schedule import decide
from pixelflow.controlplane.webhooks.store import DeliveryAttempt, DeliveryLimits, LeasedEvent

TIMEOUT_SECONDS = 10.0
LEASE = timedelta(seconds=30)
"""Longer than a try and what is written after it."""
IN_HAND = 64
"""Events at once, of one courier."""
BOUNDS = DeliveryLimits(per_host=16, per_user=48)
"""Of all couriers: no host holds a quarter of one courier's places, no user all of them."""
MAX_RESPONSE_BYTES = 4096
EXCERPT_BYTES = 1024
PATIENCE_SECONDS = 0.5
"""How long a round that finds nothing waits for one of the deliveries under way."""
GRACE_SECONDS = 5.0
"""For deliveries under way when the controller is told to stop."""

_log = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class DispatcherInputs:
    """Where a courier gets what it sends."""

    show: Callable[[str, UUID], Awaitable[Job]]
    """A user's job, as the API tells it; raises ``NotFoundError`` when it is erased."""
    secrets: Callable[[str], Awaitable[list[str]]]
    """The secrets that a user's webhooks are signed with."""
    new_id: Callable[[], UUID]
    clock: Callable[[], datetime] = _now
    """Controllers' clocks need to agree within seconds, as signatures need them to be right within minutes."""
    jitter: Callable[[], float] = random.random


class WebhookDispatcher:
    """The loop's work, once; deliveries go on between rounds."""

    def __init__(
        self,
        database: AsyncDatabase,
        outbound: OutboundHttp,
        sources: DispatcherInputs,
        *,
        bounds: DeliveryLimits = BOUNDS,
        in_hand: int = IN_HAND,
        timeout: float = TIMEOUT_SECONDS,
        tried: Callable[[str], None] = lambda _: None,
        tracing: Tracer | None = None,
    ) -> None:
        """Use what is given; ``tried`` is told what came of each try that was written."""
        self._database = database
        self._outbound = outbound
        self._sources = sources
        self._bounds = bounds
        self._in_hand = in_hand
        self._timeout = timeout
        self._tried = tried
        self._tracing = tracing or NoOpTracer()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run_once(self) -> int:
        """Take what is due and begin to deliver it; returns how much that was, or how many deliveries just ended."""
        taken = await self._take()
        for event in taken:
            self._under_way.add(asyncio.create_task(self._deliver(event)))
        if taken or not self._under_way:
            return len(taken)
        return await self._settle(PATIENCE_SECONDS, asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        """Let the deliveries under way end; what takes too long is given up, and due again after its lease."""
        await self._settle(GRACE_SECONDS, asyncio.ALL_COMPLETED)
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _take(self) -> list[LeasedEvent]:
        room = self._in_hand - len(self._under_way)
        if room <= 0:
            return []
        async with self._database.connection() as connection:
            return await store.take_due(
                connection, now=self._sources.clock(), lease=LEASE, bounds=self._bounds, limit=room
            )

    async def _settle(self, seconds: float, until: str) -> int:
        if not self._under_way:
            return 0
        done, self._under_way = await asyncio.wait(self._under_way, timeout=seconds, return_when=until)
        return len(done)

    async def _deliver(self, event: LeasedEvent) -> None:
        with (
            start_span(
                self._tracing, "webhook", SpanKind.CLIENT, parent=event.traceparent, attributes=_attributes(event)
            ) as span,
            structlog.contextvars.bound_contextvars(**log_keys(span)),
        ):
            await self._deliver_within(event, span)

    async def _deliver_within(self, event: LeasedEvent, span: Span) -> None:
        log = _log.bind(
            event_id=event.event_id, job_id=str(event.job_id), user_id=event.user_id, delivery_try=event.tries + 1
        )
        try:
            await self._try_and_record(event, span, log)
        except DependencyError as error:  # it is due again when its lease is over, by this courier or another
            set_error(span, error.code)
            log.warning("webhook not delivered: a dependency is not available", code=error.code, reason=error.detail)
        except DecryptionError as error:  # likewise: events wait until the key is back
            set_error(span, type(error).__name__)
            log.warning("webhook not delivered: its secret does not open", reason=str(error))
        except Exception:
            set_error(span, PixelflowError.code)
            log.exception("webhook not delivered")
            await self._record_bug(event, log)

    async def _try_and_record(self, event: LeasedEvent, span: Span, log: structlog.stdlib.BoundLogger) -> None:
        try:
            made = await self._try(event, traceparent_of(span))
        except NotFoundError:
            await self._forget(event)
            log.info("webhook dropped: its job was erased")
        else:
            _tell(span, made)
            written = await self._record(event, made)
            log.info("webhook", outcome=made.outcome, status_code=made.status_code, counted=written)

    async def _record_bug(self, event: LeasedEvent, log: structlog.stdlib.BoundLogger) -> None:
        """Have the try count as one that failed: what a bug ends every time must not be called for ever."""
        error = PixelflowError("Something went wrong on our side; the receiver may have been called")
        try:
            await self._record(event, self._made(event, error, self._sources.clock(), seconds=0.0))
        except Exception:  # due again when its lease is over
            log.exception("webhook not delivered, and its try not recorded")

    async def _record(self, event: LeasedEvent, made: DeliveryAttempt) -> bool:
        async with self._database.connection() as connection:
            written = await store.record(connection, event, made)
        self._tried(made.outcome)
        return written

    async def _forget(self, event: LeasedEvent) -> None:
        async with self._database.connection() as connection:
            await store.forget(connection, event.event_id)

    async def _try(self, event: LeasedEvent, traceparent: str | None) -> DeliveryAttempt:
        body = _body(event, await self._sources.show(event.user_id, event.job_id))
        secrets = await self._sources.secrets(event.user_id)
        started_at, started = self._sources.clock(), time.monotonic()
        headers = _headers(event, body, secrets, started_at) | ({"traceparent": traceparent} if traceparent else {})
        result = await self._send(event.url, headers, body)
        return self._made(event, result, started_at, seconds=time.monotonic() - started)

    def _made(
        self, event: LeasedEvent, result: HttpResponse | PixelflowError, started_at: datetime, *, seconds: float
    ) -> DeliveryAttempt:
        now = self._sources.clock()
        verdict = decide(result, tries=event.tries + 1, now=now, jitter=self._sources.jitter())
        return DeliveryAttempt(
            delivery_id=self._sources.new_id(),
            started_at=started_at,
            latency_ms=round(seconds * 1000),
            outcome=verdict.outcome,
            next_try_at=now + verdict.delay if verdict.delay else None,
            **_told(result),
        )

    async def _send(self, url: str, headers: dict[str, str], body: bytes) -> HttpResponse | TargetError:
        try:
            return await self._outbound.request(
                "POST", url, headers=headers, content=body, timeout=self._timeout, max_bytes=MAX_RESPONSE_BYTES
            )
        except TargetError as error:
            return error


def _body(event: LeasedEvent, job: Job) -> bytes:
    # As the API's route: what was not set is left out.
    content = Event(type=event.type, timestamp=event.created_at, data=job)
    return content.model_dump_json(by_alias=True, exclude_unset=True).encode()


def _headers(event: LeasedEvent, body: bytes, secrets: list[str], now: datetime) -> dict[str, str]:
    signatures = [Webhook(secret).sign(event.event_id, now, body.decode()) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": f"PixelFlow/{__version__}",
        ID_HEADER: event.event_id,
        TIMESTAMP_HEADER: str(int(now.timestamp())),
        SIGNATURE_HEADER: " ".join(signatures),
    }


def _attributes(event: LeasedEvent) -> Attributes:
    """The receiver by its host alone: what else is in the URL may be a secret of its owner's."""
    return {
        "server.address": _host(event.url),
        "http.request.method": "POST",
        "pixelflow.job_id": str(event.job_id),
        "pixelflow.event_id": event.event_id,
        "pixelflow.event_type": event.type,
        "pixelflow.attempt": event.tries + 1,
    }


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # judged when it is called
        return ""


def _tell(span: Span, made: DeliveryAttempt) -> None:
    span.set_attributes({"pixelflow.outcome": made.outcome})
    if made.status_code is not None:
        span.set_attributes({"http.response.status_code": made.status_code})
    if made.outcome != DeliveryOutcome.DELIVERED:
        set_error(span, made.error["code"] if made.error else str(made.status_code))


class _Told(TypedDict):
    status_code: int | None
    error: dict[str, str] | None
    response_excerpt: str | None


def _told(result: HttpResponse | PixelflowError) -> _Told:
    if isinstance(result, HttpResponse):
        return {
            "status_code": result.status,
            "error": None,
            "response_excerpt": _printable(result.content[:EXCERPT_BYTES]),
        }
    return {"status_code": None, "error": {"code": result.code, "message": result.detail}, "response_excerpt": None}


def _printable(content: bytes) -> str:
    """As text that neither Postgres nor a terminal chokes on."""
    text = content.decode("utf-8", errors="replace")
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
