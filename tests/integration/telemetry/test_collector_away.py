"""A collector that is unavailable or silent costs one log line and slows nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.trace import Tracer
from structlog.testing import capture_logs
from tests.support.otlp_collector import collecting
from tests.support.ports import free_port

from pixelflow.adapters.telemetry.tracing import open_tracer
from pixelflow.settings import SettingsError

PATIENCE_SECONDS = 30
AWAY = "spans dropped until the collector accepts them again"
BACK = "spans accepted again"


@pytest.fixture
def port() -> Iterator[int]:
    """Of a listener that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")


def test_an_unavailable_collector_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with capture_logs() as logs, open_tracer(role="api") as tracer:
        spans_until(tracer, lambda: logs)
        for _ in range(20):
            with tracer.start_as_current_span("work"):
                time.sleep(0.01)
    assert [(line["event"], line["reason"]) for line in logs] == [(AWAY, "no response")]


@pytest.mark.parametrize("status", [401, 404])
def test_an_outage_is_logged_with_its_status_and_so_is_its_end(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with collecting() as collector, capture_logs() as logs:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        collector.status = status
        with open_tracer(role="api") as tracer:
            spans_until(tracer, lambda: logs)
            collector.status = 200
            spans_until(tracer, lambda: len(logs) == 2)
    assert [(line["event"], line.get("reason")) for line in logs] == [(AWAY, f"status {status}"), (BACK, None)]


def test_the_sdk_s_own_lines_never_reach_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, port: int
) -> None:
    """Neither one for each span that finds the queue full, nor what quotes a header that can't be sent."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%0Ahush")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    with capture_logs() as logs, open_tracer(role="api") as tracer:
        for _ in range(1000):
            with tracer.start_as_current_span("work"):
                pass
        spans_until(tracer, lambda: logs)
    assert [(line["event"], line["reason"]) for line in logs] == [(AWAY, "no response")]
    assert caplog.messages == []


def test_a_full_queue_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    with collecting() as collector, capture_logs() as logs:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with open_tracer(role="api") as tracer:
            for _ in range(1000):
                with tracer.start_as_current_span("work"):
                    pass
            spans_until(tracer, lambda: len(logs) == 2)
    assert [(line["event"], line.get("reason")) for line in logs] == [(AWAY, "queue full"), (BACK, None)]


def spans_until(tracer: Tracer, happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        with tracer.start_as_current_span("work"):
            time.sleep(0.01)


def test_a_silent_collector_slows_neither_work_nor_shutdown(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with open_tracer(role="api") as tracer:
        started = time.monotonic()
        for _ in range(1000):
            with tracer.start_as_current_span("work"):
                pass
        worked = time.monotonic()
    # Far below the collector's timeout, and above what a busy machine takes.
    assert worked - started < 10
    assert time.monotonic() - worked < 20


def test_unsent_spans_are_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with open_tracer(role="worker") as tracer, tracer.start_as_current_span("work"):
            pass
        assert [(span.name, span.service) for span in collector.spans] == [("work", "pictures")]


@pytest.mark.parametrize("name", ["OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER", "OTEL_BSP_SCHEDULE_DELAY"])
def test_an_empty_variable_is_ignored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    monkeypatch.setenv(name, "")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "my.service.name=no name of a service")
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with open_tracer(role="worker") as tracer, tracer.start_as_current_span("work"):
            pass
        assert [(span.name, span.service) for span in collector.spans] == [("work", "pixelflow-worker")]
    assert caplog.messages == []


def test_a_batch_larger_than_the_queue_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    with pytest.raises(SettingsError, match="max_export_batch_size"), open_tracer(role="api"):
        pass
