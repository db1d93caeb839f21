"""Stage timings of an attempt and the spans that show them.

No decision of an attempt may depend on what is measured here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from opentelemetry.trace import Span, SpanKind, Tracer

from pixelflow.adapters.telemetry.tracing import Attributes, log_keys, record_span, start_span
from pixelflow.dataplane.worker.exchange import CopiedOutput
from pixelflow.dataplane.worker.sandbox import Transformed
from pixelflow.dataplane.worker.store import ClaimedJob
from pixelflow.imaging.step import SOURCE, Step


@dataclass
class Stages:
    """The stages of one attempt, with their durations."""

    tracer: Tracer
    milliseconds: dict[str, int] = field(default_factory=dict)
    on_start: Callable[[str], None] = lambda _: None
    """Called with the name of each stage that begins."""
    error_code: str | None = None
    """Code of the error that ended the attempt, if it failed."""

    @property
    def latest(self) -> str | None:
        """The stage that ended last; in a failed attempt, the stage that failed."""
        return next(reversed(self.milliseconds), None)

    @contextmanager
    def measured(self, name: str) -> Iterator[Span]:
        """Measure one stage, even if it fails, and show it as a span."""
        started = time.monotonic()
        self.on_start(name)
        try:
            with start_span(self.tracer, name) as span:
                yield span
        finally:
            self.milliseconds[name] = round((time.monotonic() - started) * 1000)

    def record_step_spans(self, steps: Sequence[Step], transformed: Transformed, *, start_ns: int) -> None:
        """Record a span for each step that the child reported, below the current span and clamped to its time.

        Args:
            steps: the pipeline's steps; times of other steps are ignored.
            transformed: the result, with step times from the child, which may be arbitrary.
            start_ns: when the transform started, in nanoseconds since the epoch.
        """
        names = {SOURCE: "decode", **{step.id: step.action for step in steps}}
        outputs, now = {output.step_id: output for output in transformed.outputs}, time.time_ns()
        for each in transformed.times:
            if each.step_id not in names:
                continue
            end_ns = min(now, start_ns + each.end_us * 1000)
            record_span(
                self.tracer,
                names[each.step_id],
                start_ns=min(end_ns, start_ns + each.start_us * 1000),
                end_ns=end_ns,
                attributes={"pixelflow.step_id": each.step_id, **_output_attributes(outputs.get(each.step_id))},
            )


def _output_attributes(output: CopiedOutput | None) -> Attributes:
    if output is None:
        return {}
    return {
        "pixelflow.format": output.format,
        "pixelflow.width": output.width,
        "pixelflow.height": output.height,
        "pixelflow.bytes": output.bytes,
    }


@contextmanager
def traced_attempt(tracer: Tracer, job: ClaimedJob, *, claim_start_ns: int) -> Iterator[Span]:
    """Open the span of an attempt, which starts with its claim, and record the job's time in the queue before it.

    Log lines within the context carry the trace id.

    Args:
        tracer: creates the spans.
        job: the job, just claimed.
        claim_start_ns: when the claim started, in nanoseconds since the epoch.
    """
    claimed_ns = time.time_ns()
    waited_ns = max(0, round(job.queued_seconds * 1e9))
    # The database measured the wait at some moment of the claim. From its end, the span never begins too early.
    queued_ns = min(claim_start_ns, claimed_ns - waited_ns)
    record_span(tracer, "queue", start_ns=queued_ns, end_ns=claim_start_ns, parent=job.traceparent)
    attributes: Attributes = {
        "pixelflow.job_id": str(job.job_id),
        "pixelflow.attempt": job.lease_token,
        "pixelflow.source_type": job.source_type,
    }
    with (
        start_span(
            tracer, "attempt", SpanKind.CONSUMER, parent=job.traceparent, start_ns=claim_start_ns, attributes=attributes
        ) as span,
        structlog.contextvars.bound_contextvars(**log_keys(span)),
    ):
        record_span(tracer, "claim", start_ns=claim_start_ns, end_ns=claimed_ns)
        yield span
