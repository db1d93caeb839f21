"""A collector that is away, or does not answer, costs nobody more than a line in the log."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from tests.support.otlp_collector import collecting

from pixelflow.adapters.telemetry.tracing import traced

PATIENCE_SECONDS = 10


@pytest.fixture
def port() -> Iterator[int]:
    """Of a listener that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")


def refusing_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def test_a_collector_that_is_away_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{refusing_port()}")
    with capture_logs() as logs, traced(role="api") as tracing:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not logs:
            assert time.monotonic() < deadline
            with tracing.span("work"):
                time.sleep(0.01)
        for _ in range(20):
            with tracing.span("work"):
                time.sleep(0.01)
    assert [line["event"] for line in logs] == [
        "traces are not taken by their collector; they are dropped until it is back"
    ]


def test_a_collector_that_does_not_answer_slows_neither_work_nor_goodbye(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with traced(role="api") as tracing:
        started = time.monotonic()
        for _ in range(1000):
            with tracing.span("work"):
                pass
        worked = time.monotonic()
    assert worked - started < 1
    assert time.monotonic() - worked < 4


def test_what_is_still_to_be_sent_at_the_end_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with traced(role="worker") as tracing, tracing.span("work"):
            pass
        assert [(span.name, span.service) for span in collector.spans] == [("work", "pictures")]
