"""Incoming traces are passed on when traces are disabled."""

from __future__ import annotations

import pytest
from opentelemetry.trace import NoOpTracer

from pixelflow.adapters.telemetry.tracing import log_keys, start_span, traceparent_of

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_disabled_tracer_passes_the_parent_on() -> None:
    with start_span(NoOpTracer(), "work", parent=TRACEPARENT) as span:
        assert traceparent_of(span) == TRACEPARENT
    with start_span(NoOpTracer(), "work") as span:
        assert traceparent_of(span) is None


@pytest.mark.parametrize(
    ("parent", "keys"), [(TRACEPARENT, {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}), (None, {})]
)
def test_log_lines_contain_the_trace_id_within_a_trace(parent: str | None, keys: dict[str, str]) -> None:
    with start_span(NoOpTracer(), "work", parent=parent) as span:
        assert log_keys(span) == keys
