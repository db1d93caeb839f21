"""What a child says of its times is shown, and nothing that it should not be able to say."""

from __future__ import annotations

import time

import pytest
from pydantic import ValidationError
from tests.support.otlp_collector import CollectedSpan, collecting

from pixelflow.adapters.telemetry.tracing import open_tracer, start_span
from pixelflow.contracts.pipeline import MAX_STEPS, Resize
from pixelflow.dataplane.protocol import REPLY, RenderedSource, StepTime
from pixelflow.dataplane.worker.sandbox import Transformed
from pixelflow.dataplane.worker.stages import Stages

STEP = Resize.model_validate({"id": "small", "action": "resize", "width": 60})
A_YEAR = 365 * 24 * 3600 * 1_000_000


def shown(monkeypatch: pytest.MonkeyPatch, *times: StepTime) -> tuple[CollectedSpan, list[CollectedSpan]]:
    """The span of a transform whose child says so, and those below it."""
    source = RenderedSource(format="jpeg", width=1, height=1)
    transformed = Transformed(source, [], list(times), compute_time_ms=1)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with open_tracer(role="worker") as tracer, start_span(tracer, "transform"):
            Stages(tracer).tell_steps([STEP], transformed, begun_ns=time.time_ns())
        [transform] = [span for span in collector.spans if span.name == "transform"]
        return transform, [span for span in collector.spans if span.parent_id == transform.span_id]


def said(step_id: str, begun_us: int, ended_us: int) -> StepTime:
    return StepTime(step_id=step_id, begun_us=begun_us, ended_us=ended_us)


def test_steps_are_shown_by_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    _, below = shown(monkeypatch, said("source", 0, 0), said("small", 0, 1))
    assert [(span.name, span.attributes) for span in below] == [
        ("decode", {"pixelflow.step_id": "source"}),
        ("resize", {"pixelflow.step_id": "small"}),
    ]


def test_a_step_that_was_not_asked_for_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, said("exfiltrated-bytes", 0, 1))[1] == []


@pytest.mark.parametrize(("begun_us", "ended_us"), [(0, A_YEAR), (A_YEAR, A_YEAR), (A_YEAR, 0), (0, 10**30)])
def test_times_stay_within_the_transform(monkeypatch: pytest.MonkeyPatch, begun_us: int, ended_us: int) -> None:
    transform, [step] = shown(monkeypatch, said("small", begun_us, ended_us))
    assert transform.begun_ns <= step.begun_ns <= step.ended_ns <= transform.ended_ns


@pytest.mark.parametrize(
    "times",
    [
        [{"step_id": "small", "begun_us": -1, "ended_us": 0}],
        [{"step_id": "../etc", "begun_us": 0, "ended_us": 0}],
        [{"step_id": "small", "begun_us": 0, "ended_us": 0}] * (MAX_STEPS + 2),
    ],
)
def test_more_times_than_steps_and_times_that_are_none_are_no_answer(times: list[dict[str, object]]) -> None:
    source = {"format": "jpeg", "width": 1, "height": 1}
    with pytest.raises(ValidationError):
        REPLY.validate_python({"kind": "rendered", "source": source, "outputs": [], "times": times})
