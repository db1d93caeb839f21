"""What becomes of others' traces where none are made."""

from __future__ import annotations

import pytest

from pixelflow.adapters.telemetry.tracing import NoopTracer, log_keys

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_without_traces_of_our_own_those_of_others_are_passed_on() -> None:
    with NoopTracer().span("work", parent=GIVEN) as span:
        assert span.traceparent == GIVEN
    with NoopTracer().span("work") as span:
        assert span.traceparent is None


@pytest.mark.parametrize(("given", "keys"), [(GIVEN, {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}), (None, {})])
def test_lines_of_a_log_have_the_id_of_the_trace_if_there_is_one(given: str | None, keys: dict[str, str]) -> None:
    with NoopTracer().span("work", parent=given) as span:
        assert log_keys(span) == keys
