"""When the span of a job's time in the queue begins."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from opentelemetry.trace import NoOpTracer

from pixelflow.dataplane.worker import stages
from pixelflow.dataplane.worker.store import ClaimedJob

SECOND = 1_000_000_000


@pytest.mark.parametrize(("claim_seconds", "expected"), [(0, 5), (2, 3), (60, 0)])
def test_the_span_of_the_queue_begins_no_earlier_than_the_job_was_queued(
    monkeypatch: pytest.MonkeyPatch, claim_seconds: int, expected: int
) -> None:
    """The database may have measured the wait of five seconds at the end of the claim."""
    spans: dict[str, tuple[int, int]] = {}

    def record(_tracer: object, name: str, *, start_ns: int, end_ns: int, **_: Any) -> None:  # noqa: ANN401
        spans[name] = start_ns, end_ns

    monkeypatch.setattr(stages, "record_span", record)
    job = SimpleNamespace(queued_seconds=5.0, traceparent=None, job_id="job", lease_token=1, source_type="s3_presigned")
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    with stages.traced_attempt(NoOpTracer(), cast("ClaimedJob", job), claim_start_ns=now - claim_seconds * SECOND):
        pass
    start, end = spans["queue"]
    assert end == now - claim_seconds * SECOND
    assert end - start == expected * SECOND
