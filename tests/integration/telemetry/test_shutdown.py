"""Shutdown: a process sends its remaining spans, but does not wait for a collector that does not respond."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from tests.support.otlp_collector import collecting
from tests.support.waiting import assert_within

NOWHERE = "127.0.0.1:1"
ENVIRONMENT = {
    "PIXELFLOW_DATABASE_URL": f"postgresql://{NOWHERE}/pixelflow",
    "PIXELFLOW_REDIS_URL": f"redis://{NOWHERE}",
    "PIXELFLOW_S3_ENDPOINT_URL": f"http://{NOWHERE}",
    "PIXELFLOW_S3_BUCKET": "b",
    "PIXELFLOW_S3_ACCESS_KEY_ID": "k",
    "PIXELFLOW_S3_SECRET_ACCESS_KEY": "s",
    "PIXELFLOW_SECRETS_KEY": "A" * 43,
    "PIXELFLOW_METRICS_ENABLED": "false",
    "OTEL_BSP_SCHEDULE_DELAY": "60000",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
}


@contextmanager
def api_after_one_request(endpoint: str) -> Iterator[subprocess.Popen[bytes]]:
    """An API process without its servers that has handled one request."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor = listening.fileno()
        environment = {
            **os.environ,
            **ENVIRONMENT,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "PIXELFLOW_API_SOCKET": str(descriptor),
        }
        command = [sys.executable, "-m", "pixelflow", "api"]
        with subprocess.Popen(command, env=environment, pass_fds=[descriptor], stderr=subprocess.DEVNULL) as process:
            try:
                url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/nothing"
                assert httpx.get(url, timeout=300).status_code == 404
                yield process
            finally:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_api_sends_its_remaining_spans(number: signal.Signals) -> None:
    with collecting() as collector, api_after_one_request(collector.url) as process:
        assert collector.spans == []
        process.send_signal(number)
        process.wait(60)
        assert [span.name for span in collector.spans] == ["GET unmatched"]


def test_an_api_exits_although_its_collector_does_not_respond() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        api_after_one_request(f"http://127.0.0.1:{silent.getsockname()[1]}") as process,
    ):
        started = time.monotonic()
        process.terminate()
        assert process.wait(120) == 0
        assert_within(10, started)  # two seconds, plus delays of a busy machine
