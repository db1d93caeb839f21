"""Whether traces are made, and what becomes of those of others where none are."""

from __future__ import annotations

import pytest

from pixelflow.adapters.telemetry.tracing import Exporter, Untraced, trace_id_of, wanted_exporter
from pixelflow.settings import SettingsError

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("variables", "exporter"),
    [
        ({}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, Exporter.OTLP),
        ({"OTEL_TRACES_EXPORTER": " Console "}, Exporter.CONSOLE),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, Exporter.OTLP),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, Exporter.OTLP),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, Exporter.OTLP),
        ({"OTEL_TRACES_EXPORTER": "", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None),
    ],
)
def test_traces_go_where_the_standard_variables_say(variables: dict[str, str], exporter: Exporter | None) -> None:
    assert wanted_exporter(variables) is exporter


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        ),
    ],
)
def test_what_is_not_to_be_had_is_refused_at_the_start(variables: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        wanted_exporter(variables)


def test_without_traces_of_our_own_those_of_others_are_passed_on() -> None:
    with Untraced().span("work", parent=GIVEN) as span:
        assert span.traceparent == GIVEN
    with Untraced().span("work") as span:
        assert span.traceparent is None


def test_the_id_of_a_trace_is_read_from_what_is_passed_on() -> None:
    assert trace_id_of(GIVEN) == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace_id_of(None) is None
