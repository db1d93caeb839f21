"""``/metrics`` over HTTP: responses, refusals and limits."""

from __future__ import annotations

import gzip
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from tests.support.ports import free_port
from tests.support.waiting import eventually

from pixelflow.adapters.telemetry.metrics import MAX_CONNECTIONS, MAX_SECONDS, ReadinessProbe, serve_metrics
from pixelflow.settings import Settings, SettingsError


def settings_of(**values: object) -> Settings:
    return Settings.model_validate(
        {
            "database_url": "postgresql://h/d",
            "redis_url": "redis://h",
            "s3_endpoint_url": "http://h",
            "s3_bucket": "b",
            "s3_access_key_id": "k",
            "s3_secret_access_key": "s",
            **values,
        }
    )


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def url(port: int) -> Iterator[str]:
    """A server of one metric."""
    registry = CollectorRegistry()
    Counter("things_total", "Things.", registry=registry).inc(3)
    with serve_metrics(registry, settings_of(metrics_port=port), role="api"):
        yield f"http://127.0.0.1:{port}"


def test_only_the_metrics_path_is_served(url: str) -> None:
    assert "things_total 3.0" in httpx.get(f"{url}/metrics").text
    for path in ("/", "/metrics/", "/metricsx", "/favicon.ico", "/%6detrics"):
        assert httpx.get(url + path).status_code == 404, path


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"])
def test_only_get_is_answered(url: str, method: str) -> None:
    assert httpx.request(method, f"{url}/metrics").status_code == 501


def test_the_query_does_not_filter_the_metrics(url: str) -> None:
    assert "things_total 3.0" in httpx.get(f"{url}/metrics?name[]=nothing").text


def test_the_server_header_hides_versions(url: str) -> None:
    assert httpx.get(f"{url}/metrics").headers["Server"].strip() == "PixelFlow"


def test_the_response_is_compressed_on_request(url: str) -> None:
    request = urllib.request.Request(f"{url}/metrics", headers={"Accept-Encoding": "gzip"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        assert b"things_total 3.0" in gzip.decompress(answer.read())


def test_an_idle_connection_is_closed_at_its_deadline(port: int) -> None:
    with (
        serve_metrics(CollectorRegistry(), settings_of(metrics_port=port), role="api", max_seconds=0.2),
        ExitStack() as stack,
    ):
        for idle in _connected(stack, port, MAX_CONNECTIONS):
            assert idle.recv(1) == b"", "closed by the server"
        _wait_until_served(f"http://127.0.0.1:{port}")


def test_a_connection_over_the_limit_is_closed_at_once(url: str, port: int) -> None:
    with ExitStack() as stack:
        idle = _connected(stack, port, MAX_CONNECTIONS)
        (one_more,) = _connected(stack, port, 1)
        assert one_more.recv(1) == b"", "closed by the server"
        idle[0].settimeout(0.01)
        with pytest.raises(TimeoutError):
            idle[0].recv(1)
    _wait_until_served(url)


def _connected(stack: ExitStack, port: int, count: int) -> list[socket.socket]:
    return [
        stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=MAX_SECONDS / 2))
        for _ in range(count)
    ]


def test_a_client_that_sends_byte_by_byte_is_closed_at_its_deadline(port: int) -> None:
    with (
        serve_metrics(CollectorRegistry(), settings_of(metrics_port=port), role="api", max_seconds=0.5),
        socket.create_connection(("127.0.0.1", port)) as slow,
    ):
        slow.settimeout(0.1)
        eventually(lambda: not _is_listened_to(slow), MAX_SECONDS)


def _is_listened_to(slow: socket.socket) -> bool:
    try:
        slow.sendall(b"G")
        return slow.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def _wait_until_served(url: str) -> None:
    def is_served() -> bool:
        try:
            return httpx.get(f"{url}/metrics").status_code == 200
        except httpx.TransportError:
            return False

    eventually(is_served)


def test_an_unavailable_port_is_an_error_that_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with (
            pytest.raises(SettingsError, match=f"PIXELFLOW_METRICS_PORT is not valid: .* {taken} "),
            serve_metrics(CollectorRegistry(), settings_of(metrics_port=taken), role="worker"),
        ):
            pytest.fail("nothing is served there")


def test_the_port_is_free_again_afterwards(port: int) -> None:
    for _ in range(2):
        with serve_metrics(CollectorRegistry(), settings_of(metrics_port=port), role="api"):
            assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200


def test_metrics_can_be_disabled(port: int) -> None:
    with (
        serve_metrics(CollectorRegistry(), settings_of(metrics_port=port, metrics_enabled=False), role="api"),
        pytest.raises(httpx.ConnectError),
    ):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_ipv6_addresses_and_host_names_are_supported(host: str, port: int) -> None:
    with serve_metrics(CollectorRegistry(), settings_of(metrics_port=port, metrics_host=host), role="api"):
        assert httpx.get(f"http://{'[::1]' if host == '::1' else host}:{port}/metrics").status_code == 200


def test_a_process_with_health_answers_liveness_and_readiness(port: int) -> None:
    readiness = ReadinessProbe()
    url = f"http://127.0.0.1:{port}"
    with serve_metrics(CollectorRegistry(), settings_of(metrics_port=port), role="worker", readiness=readiness):
        assert httpx.get(f"{url}/livez").json() == {"status": "ok"}
        starting = httpx.get(f"{url}/readyz")
        assert (starting.status_code, starting.json()) == (503, {"status": "unavailable", "reasons": ["starting"]})
        readiness.reasons = list
        ready = httpx.get(f"{url}/readyz?verbose")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
        readiness.reasons = lambda: ["object_storage"]
        assert httpx.get(f"{url}/readyz").json()["reasons"] == ["object_storage"]
        assert httpx.get(f"{url}/livez").status_code == 200
