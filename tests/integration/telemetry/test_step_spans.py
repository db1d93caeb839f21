"""Spans of steps: recorded from the times that a child reports, within what a child may influence."""

from __future__ import annotations

import time

import pytest
from pydantic import ValidationError
from tests.support.otlp_collector import CollectedSpan, collecting

from pixelflow.adapters.telemetry.tracing import open_tracer, start_span
from pixelflow.dataplane.worker.sandbox import Transformed
from pixelflow.dataplane.worker.stages import Stages
from pixelflow.imaging.operations.resize.model import Resize
from pixelflow.imaging.pipeline import MAX_STEPS
from pixelflow.imaging.protocol import REPLY, RenderedSource, StepTime

STEP = Resize.model_validate({"id": "small", "action": "resize", "width": 60})
A_YEAR = 365 * 24 * 3600 * 1_000_000


def recorded_spans(monkeypatch: pytest.MonkeyPatch, *times: StepTime) -> tuple[CollectedSpan, list[CollectedSpan]]:
    """The span of a transform whose child reports these times, and the spans below it."""
    source = RenderedSource(format="jpeg", width=1, height=1)
    transformed = Transformed(source, [], list(times), [], compute_time_ms=1)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with open_tracer(role="worker") as tracer, start_span(tracer, "transform"):
            Stages(tracer).record_step_spans([STEP], transformed, start_ns=time.time_ns())
        [transform] = [span for span in collector.spans if span.name == "transform"]
        return transform, [span for span in collector.spans if span.parent_id == transform.span_id]


def reported(step_id: str, start_us: int, end_us: int) -> StepTime:
    return StepTime(step_id=step_id, start_us=start_us, end_us=end_us)


def test_spans_are_named_by_the_action_of_their_step(monkeypatch: pytest.MonkeyPatch) -> None:
    _, below = recorded_spans(monkeypatch, reported("source", 0, 0), reported("small", 0, 1))
    assert [(span.name, span.attributes) for span in below] == [
        ("decode", {"pixelflow.step_id": "source"}),
        ("resize", {"pixelflow.step_id": "small"}),
    ]


def test_an_unknown_step_has_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded_spans(monkeypatch, reported("exfiltrated-bytes", 0, 1))[1] == []


@pytest.mark.parametrize(("start_us", "end_us"), [(0, A_YEAR), (A_YEAR, A_YEAR), (A_YEAR, 0), (0, 10**30)])
def test_times_are_clamped_to_the_transform(monkeypatch: pytest.MonkeyPatch, start_us: int, end_us: int) -> None:
    transform, [step] = recorded_spans(monkeypatch, reported("small", start_us, end_us))
    assert transform.begun_ns <= step.begun_ns <= step.ended_ns <= transform.ended_ns


@pytest.mark.parametrize(
    "times",
    [
        [{"step_id": "small", "start_us": -1, "end_us": 0}],
        [{"step_id": "../etc", "start_us": 0, "end_us": 0}],
        [{"step_id": "small", "start_us": 0, "end_us": 0}] * (MAX_STEPS + 2),
    ],
)
def test_invalid_times_and_more_times_than_steps_make_the_reply_invalid(times: list[dict[str, object]]) -> None:
    source = {"format": "jpeg", "width": 1, "height": 1}
    with pytest.raises(ValidationError):
        REPLY.validate_python({"kind": "rendered", "source": source, "outputs": [], "times": times})
