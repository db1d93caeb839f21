"""The stages of an attempt: how long each takes, and the spans that show it.

It must never be what an attempt depends on: nothing is decided by what is measured here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from opentelemetry.trace import Span, SpanKind, Tracer

from pixelflow.adapters.telemetry.tracing import Attributes, log_keys, record_span, start_span
from pixelflow.contracts.pipeline import SOURCE, Step
from pixelflow.dataplane.worker.exchange import CollectedOutput
from pixelflow.dataplane.worker.sandbox import Transformed
from pixelflow.dataplane.worker.store import ClaimedJob


@dataclass
class Stages:
    """How long each stage of an attempt took."""

    tracing: Tracer
    milliseconds: dict[str, int] = field(default_factory=dict)
    error_code: str | None = None
    """Of what ended the attempt, if it ended badly."""

    @property
    def latest(self) -> str | None:
        """The stage that ended last: of an attempt that failed, where it did."""
        return next(reversed(self.milliseconds), None)

    @contextmanager
    def measured(self, name: str) -> Iterator[Span]:
        """Time one stage, also when it fails."""
        started = time.monotonic()
        try:
            with start_span(self.tracing, name) as span:
                yield span
        finally:
            self.milliseconds[name] = round((time.monotonic() - started) * 1000)

    def tell_steps(self, steps: Sequence[Step], transformed: Transformed, *, begun_ns: int) -> None:
        """Show what a child says of its steps, below the span that we are in and within its time.

        Args:
            steps: of the pipeline; what is said of others is not shown.
            transformed: what came of them, and the times, which may say anything.
            begun_ns: when the transform began, since the epoch.
        """
        names = {SOURCE: "decode", **{step.id: step.action for step in steps}}
        made, now = {output.step_id: output for output in transformed.outputs}, time.time_ns()
        for each in transformed.times:
            if each.step_id not in names:
                continue
            ended_ns = min(now, begun_ns + each.ended_us * 1000)
            record_span(
                self.tracing,
                names[each.step_id],
                start_ns=min(ended_ns, begun_ns + each.begun_us * 1000),
                end_ns=ended_ns,
                attributes={"pixelflow.step_id": each.step_id, **_about(made.get(each.step_id))},
            )


def _about(output: CollectedOutput | None) -> Attributes:
    """What a step wrote, if it did."""
    if output is None:
        return {}
    return {
        "pixelflow.format": output.format,
        "pixelflow.width": output.width,
        "pixelflow.height": output.height,
        "pixelflow.bytes": output.bytes,
    }


@contextmanager
def traced_attempt(tracing: Tracer, job: ClaimedJob, *, claim_begun_ns: int) -> Iterator[Span]:
    """The span of an attempt, which began with its claim; before it one of the job's wait in the queue.

    What is logged within has the id of the trace.

    Args:
        tracing: makes spans.
        job: just claimed.
        claim_begun_ns: when the claim began, since the epoch.
    """
    claimed_ns = time.time_ns()
    waited_ns = max(0, round(job.queued_seconds * 1e9))
    record_span(tracing, "queue", start_ns=claim_begun_ns - waited_ns, end_ns=claim_begun_ns, parent=job.traceparent)
    attributes: Attributes = {
        "pixelflow.job_id": str(job.job_id),
        "pixelflow.attempt": job.lease_token,
        "pixelflow.source_type": job.source_type,
    }
    with (
        start_span(
            tracing,
            "attempt",
            SpanKind.CONSUMER,
            parent=job.traceparent,
            start_ns=claim_begun_ns,
            attributes=attributes,
        ) as span,
        structlog.contextvars.bound_contextvars(**log_keys(span)),
    ):
        record_span(tracing, "claim", start_ns=claim_begun_ns, end_ns=claimed_ns)
        yield span
