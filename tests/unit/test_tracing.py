"""What becomes of others' traces where none are made."""

from __future__ import annotations

from pixelflow.adapters.telemetry.tracing import Untraced, trace_id_of

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_without_traces_of_our_own_those_of_others_are_passed_on() -> None:
    with Untraced().span("work", parent=GIVEN) as span:
        assert span.traceparent == GIVEN
    with Untraced().span("work") as span:
        assert span.traceparent is None


def test_the_id_of_a_trace_is_read_from_what_is_passed_on() -> None:
    assert trace_id_of(GIVEN) == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace_id_of(None) is None
