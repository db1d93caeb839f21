"""Delivers events to their receivers, signed, until they are delivered or given up.

Deliveries run concurrently, and a tick leases only events of hosts and users below their limits, so that a slow
receiver delays no others. If a dispatcher crashes, its events are due again when their leases expire. An attempt that a
bug ends counts like a failed one, so that no event is retried forever. Never changes a job.
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
from pixelflow.contracts.batches import Batch
from pixelflow.contracts.jobs.responses import Job
from pixelflow.contracts.webhook_endpoints import TEST_EVENT, TestEvent, TestEventData
from pixelflow.contracts.webhooks import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    BatchEvent,
    DeliveryOutcome,
    Event,
)
from pixelflow.controlplane.encryption import DecryptionError
from pixelflow.controlplane.webhooks import due_events, store
from pixelflow.controlplane.webhooks.due_events import DeliveryLimits, LeasedEvent, Rotation
from pixelflow.controlplane.webhooks.schedule import decide
from pixelflow.controlplane.webhooks.store import DeliveryAttempt
from pixelflow.errors import DependencyError, NotFoundError, PixelflowError, TargetError

TIMEOUT_SECONDS = 10.0
LEASE = timedelta(seconds=30)
"""Longer than an attempt and the write of its outcome."""
MAX_CONCURRENT = 64
"""Deliveries of one dispatcher at once."""
LIMITS = DeliveryLimits(per_host=16, per_user=48, per_lane=8)
"""Over all dispatchers: one host can use a quarter of a dispatcher's capacity, one user three quarters. One user can
use half of a host's places."""
MAX_RESPONSE_BYTES = 4096
EXCERPT_BYTES = 1024
IDLE_WAIT_SECONDS = 0.5
"""How long a tick that leased no event waits for a running delivery to end."""
GRACE_SECONDS = 5.0
"""For running deliveries when the controller stops."""

_log = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class DispatcherInputs:
    """Sources of everything that a dispatcher sends."""

    get_job: Callable[[str, UUID], Awaitable[Job]]
    """Returns a user's job as the API does; raises ``NotFoundError`` if it was erased."""
    get_batch: Callable[[str, UUID], Awaitable[Batch]]
    """Returns a user's batch as the API does; raises ``NotFoundError`` if it was deleted."""
    signing_secrets: Callable[[str], Awaitable[list[str]]]
    """Returns the secrets to sign a user's webhooks with."""
    new_id: Callable[[], UUID]
    clock: Callable[[], datetime] = _now
    """Clocks of controllers must agree within seconds, and be right within minutes: signatures contain the time."""
    jitter: Callable[[], float] = random.random


class WebhookDispatcher:
    """A controller loop. Deliveries continue between ticks."""

    name = "webhook_dispatcher"

    def __init__(
        self,
        database: AsyncDatabase,
        outbound: OutboundHttp,
        inputs: DispatcherInputs,
        *,
        limits: DeliveryLimits = LIMITS,
        max_concurrent: int = MAX_CONCURRENT,
        timeout: float = TIMEOUT_SECONDS,
        on_attempt: Callable[[str], None] = lambda _: None,
        tracer: Tracer | None = None,
    ) -> None:
        """``on_attempt`` is called with the outcome of each attempt that was recorded."""
        self._database = database
        self._outbound = outbound
        self._inputs = inputs
        self._limits = limits
        self._max_concurrent = max_concurrent
        self._timeout = timeout
        self._on_attempt = on_attempt
        self._tracer = tracer or NoOpTracer()
        self._rotation = Rotation()
        self._running: set[asyncio.Task[None]] = set()

    async def run_once(self) -> int:
        """Start to deliver due events; returns how many, or if none are due, how many running deliveries ended."""
        events = await self._lease_due()
        for event in events:
            self._running.add(asyncio.create_task(self._deliver(event)))
        if events or not self._running:
            return len(events)
        return await self._wait(IDLE_WAIT_SECONDS, asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        """Wait for running deliveries; those that take too long are canceled, and due again after their leases."""
        await self._wait(GRACE_SECONDS, asyncio.ALL_COMPLETED)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _lease_due(self) -> list[LeasedEvent]:
        free = self._max_concurrent - len(self._running)
        if free <= 0:
            return []
        now = self._inputs.clock()
        async with self._database.connection() as connection:
            lanes, are_more_due = await due_events.longest_due(connection, now=now)
            if not lanes:
                return []
            if are_more_due:
                lanes = list({*lanes, *await due_events.visit(connection, self._rotation)})
            async with connection.transaction():
                return await due_events.lease_due(
                    connection, lanes, now=now, lease=LEASE, limits=self._limits, limit=free
                )

    async def _wait(self, seconds: float, until: str) -> int:
        if not self._running:
            return 0
        done, self._running = await asyncio.wait(self._running, timeout=seconds, return_when=until)
        return len(done)

    async def _deliver(self, event: LeasedEvent) -> None:
        with (
            start_span(
                self._tracer, "webhook", SpanKind.CLIENT, parent=event.traceparent, attributes=_attributes(event)
            ) as span,
            structlog.contextvars.bound_contextvars(**log_keys(span)),
        ):
            await self._deliver_in_span(event, span)

    async def _deliver_in_span(self, event: LeasedEvent, span: Span) -> None:
        log = _log.bind(
            event_id=event.event_id,
            **_subjects(event),
            user_id=event.user_id,
            delivery_attempt=event.attempts + 1,
        )
        try:
            if event.is_wanted:
                await self._attempt_and_record(event, span, log)
            else:
                await self._refuse(event)
                log.info("webhook dropped: its endpoint is disabled or deleted")
        except DependencyError as error:  # not counted: the event is due again when its lease expires
            set_error(span, error.code)
            log.warning("webhook not delivered: a dependency is unavailable", code=error.code, reason=error.detail)
        except DecryptionError as error:  # not counted either: events wait for the right key
            set_error(span, type(error).__name__)
            log.warning("webhook not delivered: its secret can't be decrypted", reason=str(error))
        except Exception:
            set_error(span, PixelflowError.code)
            log.exception("webhook delivery failed unexpectedly")
            await self._record_bug(event, log)

    async def _attempt_and_record(self, event: LeasedEvent, span: Span, log: structlog.stdlib.BoundLogger) -> None:
        try:
            attempt = await self._attempt(event, traceparent_of(span))
        except NotFoundError:
            await self._delete(event)
            log.info("webhook dropped: its job was erased, or its batch deleted")
        else:
            _describe(span, attempt)
            counted = await self._record(event, attempt)
            log.info("webhook attempted", outcome=attempt.outcome, status_code=attempt.status_code, counted=counted)

    async def _record_bug(self, event: LeasedEvent, log: structlog.stdlib.BoundLogger) -> None:
        """Count the attempt as failed, so that an event which triggers a bug every time is not retried forever."""
        error = PixelflowError("Something went wrong on our side; the receiver may have been called")
        try:
            await self._record(event, self._finish_attempt(event, error, self._inputs.clock(), seconds=0.0))
        except Exception:  # the event is due again when its lease expires
            log.exception("webhook attempt not recorded")

    async def _record(self, event: LeasedEvent, attempt: DeliveryAttempt) -> bool:
        async with self._database.connection() as connection:
            counted = await store.record_attempt(connection, event, attempt)
        self._on_attempt(attempt.outcome)
        return counted

    async def _refuse(self, event: LeasedEvent) -> None:
        async with self._database.connection() as connection:
            await store.refuse(connection, event)

    async def _delete(self, event: LeasedEvent) -> None:
        async with self._database.connection() as connection:
            await store.delete_event(connection, event.event_id)

    async def _attempt(self, event: LeasedEvent, traceparent: str | None) -> DeliveryAttempt:
        content = await self._content(event)
        # Unset fields are omitted, as in the response of the API.
        body = content.model_dump_json(by_alias=True, exclude_unset=True).encode()
        secrets = await self._inputs.signing_secrets(event.user_id)
        started_at, started = self._inputs.clock(), time.monotonic()
        headers = _headers(event, body, secrets, started_at) | ({"traceparent": traceparent} if traceparent else {})
        result = await self._send(event.url, headers, body)
        return self._finish_attempt(event, result, started_at, seconds=time.monotonic() - started)

    async def _content(self, event: LeasedEvent) -> Event | BatchEvent | TestEvent:
        if event.job_id is not None:
            job = await self._inputs.get_job(event.user_id, event.job_id)
            return Event(type=event.type, timestamp=event.created_at, data=job)
        if event.batch_id is not None:
            batch = await self._inputs.get_batch(event.user_id, event.batch_id)
            return BatchEvent(type="batch.finished", timestamp=event.created_at, data=batch)
        assert event.endpoint_id is not None  # noqa: S101  # an event has a job, a batch or an endpoint
        data = TestEventData(endpoint_id=event.endpoint_id)
        return TestEvent(type=TEST_EVENT, timestamp=event.created_at, data=data)

    def _finish_attempt(
        self, event: LeasedEvent, result: HttpResponse | PixelflowError, started_at: datetime, *, seconds: float
    ) -> DeliveryAttempt:
        now = self._inputs.clock()
        decision = decide(result, attempts=event.attempts + 1, now=now, jitter=self._inputs.jitter())
        return DeliveryAttempt(
            delivery_id=self._inputs.new_id(),
            started_at=started_at,
            latency_ms=round(seconds * 1000),
            outcome=decision.outcome,
            next_attempt_at=now + decision.delay if decision.delay else None,
            **_result_fields(result),
        )

    async def _send(self, url: str, headers: dict[str, str], body: bytes) -> HttpResponse | TargetError:
        try:
            return await self._outbound.request(
                "POST", url, headers=headers, content=body, timeout=self._timeout, max_bytes=MAX_RESPONSE_BYTES
            )
        except TargetError as error:
            return error


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
    """Identify the receiver by its host alone: the rest of the URL may contain a secret."""
    return {
        "server.address": _host(event.url),
        "http.request.method": "POST",
        **{f"pixelflow.{name}": value for name, value in _subjects(event).items()},
        "pixelflow.event_id": event.event_id,
        "pixelflow.event_type": event.type,
        "pixelflow.attempt": event.attempts + 1,
    }


def _subjects(event: LeasedEvent) -> dict[str, str]:
    """The job, the batch and the endpoint of an event, those that it has."""
    ids = {"job_id": event.job_id, "batch_id": event.batch_id, "endpoint_id": event.endpoint_id}
    return {name: str(value) for name, value in ids.items() if value is not None}


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # refused when it is called
        return ""


def _describe(span: Span, attempt: DeliveryAttempt) -> None:
    span.set_attributes({"pixelflow.outcome": attempt.outcome})
    if attempt.status_code is not None:
        span.set_attributes({"http.response.status_code": attempt.status_code})
    if attempt.outcome != DeliveryOutcome.DELIVERED:
        set_error(span, attempt.error["code"] if attempt.error else str(attempt.status_code))


class _ResultFields(TypedDict):
    status_code: int | None
    error: dict[str, str] | None
    response_excerpt: str | None


def _result_fields(result: HttpResponse | PixelflowError) -> _ResultFields:
    if isinstance(result, HttpResponse):
        return {
            "status_code": result.status,
            "error": None,
            "response_excerpt": _printable(result.content[:EXCERPT_BYTES]),
        }
    return {"status_code": None, "error": {"code": result.code, "message": result.detail}, "response_excerpt": None}


def _printable(content: bytes) -> str:
    """Decode to text that Postgres can store (no NUL) and that is safe to print on a terminal."""
    text = content.decode("utf-8", errors="replace")
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
