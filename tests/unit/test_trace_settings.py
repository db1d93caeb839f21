"""Validation of OpenTelemetry's standard variables."""

from __future__ import annotations

import logging

import pytest
from opentelemetry.util.re import parse_env_headers

from pixelflow.adapters.telemetry.trace_settings import Exporter, load
from pixelflow.settings import SettingsError

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}
SECRET = "hush-hush-hush"


@pytest.mark.parametrize(
    ("variables", "exporter"),
    [
        ({}, None),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "1"}, Exporter.OTLP),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, Exporter.OTLP),
        ({"OTEL_TRACES_EXPORTER": " Console "}, Exporter.CONSOLE),
        (ENDPOINT, Exporter.OTLP),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "  "}, None),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, Exporter.OTLP),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, Exporter.OTLP),
        (
            {
                **ENDPOINT,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            Exporter.OTLP,
        ),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.05"}, Exporter.OTLP),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "of no interest"}, Exporter.OTLP),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "", "OTEL_BSP_SCHEDULE_DELAY": ""}, Exporter.OTLP),
    ],
)
def test_the_standard_variables_select_the_exporter(variables: dict[str, str], exporter: Exporter | None) -> None:
    assert load(variables) is exporter


WRONG = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"collector-{SECRET}:4318",
    "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization Bearer {SECRET}",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "-1",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "zip",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere",
    "OTEL_TRACES_SAMPLER": "sometimes",
    "OTEL_BSP_SCHEDULE_DELAY": "0",
    "OTEL_BSP_MAX_QUEUE_SIZE": "many",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "few",
    "OTEL_PROPAGATORS": "tracecontext,b3",
}


@pytest.mark.parametrize("name", WRONG)
def test_each_invalid_variable_is_named_without_its_value(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is not valid: ") as refused:
        load({**ENDPOINT, name: WRONG[name]})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1.0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "9" * 30),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "-1"),
        ("OTEL_TRACES_SAMPLER", " always_on"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "inf"),
    ],
)
def test_a_value_that_the_sdk_can_not_use_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is not valid: "):
        load({**ENDPOINT, name: value})


def test_all_invalid_variables_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        load({**ENDPOINT, **WRONG})
    assert {line.partition(" ")[0] for line in str(refused.value).splitlines()} == set(WRONG)


@pytest.mark.parametrize("name", ["OTEL_TRACES_SAMPLER_ARG", "OTEL_TRACES_EXPORTER"])
def test_a_ratio_above_one_and_an_unknown_exporter_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load({**ENDPOINT, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", name: "7"})


def test_invalid_variables_are_ignored_when_traces_are_disabled() -> None:
    """Variables are often set for all containers of a cluster, whatever each of them understands."""
    harmless = {name: value for name, value in WRONG.items() if name != "OTEL_PROPAGATORS"}
    assert load({**ENDPOINT, **harmless, "OTEL_TRACES_EXPORTER": "none"}) is None


@pytest.mark.parametrize(
    "header",
    ["a=b", "a=b=c", "authorization=Bearer%20x", "authorization=Bearer x", " a=b , c=d,", "a", "a b=c", "a=b;c", "=b"],
)
def test_headers_that_the_sdk_would_quote_are_refused(header: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse_env_headers(header, liberal=True)
    try:
        load({**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": header})
    except SettingsError:
        assert caplog.messages
    else:
        assert not caplog.messages
