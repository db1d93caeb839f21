"""Errors: every error of httpx is mapped, and no error contains a secret."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from tests.unit.client.conftest import Call
from tests.unit.client.stand_in import DROP, KEY, Fault, StandIn

from pixelflow.client import (
    ApiError,
    AsyncClient,
    Client,
    ClientError,
    ConfigurationError,
    ConnectionFailedError,
    InvalidRequestError,
)
from pixelflow.client.errors import map_httpx_errors
from pixelflow.errors import FieldError

STEPS = [{"id": "small", "action": "resize", "width": 64, "format": "webp"}]
HTTPX_ERRORS = sorted(
    (
        kind
        for kind in vars(httpx).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__.startswith("httpx")
    ),
    key=lambda kind: kind.__name__,
)


# Assembled, since a traceback of Python 3.13 shows the source of the whole statement.
_SECRET = "".join(reversed("7erce5"))
_URL = f"https://storage.example:9000/key?X-Amz-Signature={_SECRET}"


def _made(kind: type[Exception], message: str) -> Exception:
    request = httpx.Request("GET", _URL)
    if kind is httpx.HTTPStatusError:
        return httpx.HTTPStatusError(message, request=request, response=httpx.Response(500, request=request))
    if kind in {httpx.StreamConsumed, httpx.StreamClosed, httpx.ResponseNotRead, httpx.RequestNotRead}:
        return kind()
    return kind(message)


def test_the_list_of_httpx_errors_is_not_empty() -> None:
    assert {httpx.ConnectError, httpx.InvalidURL, httpx.StreamClosed} < set(HTTPX_ERRORS)


@pytest.mark.parametrize("kind", HTTPX_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_httpx_is_mapped_and_names_only_the_host(kind: type[Exception]) -> None:
    with (
        pytest.raises(ConnectionFailedError) as caught,
        map_httpx_errors(_URL),
    ):
        raise _made(kind, "boom")
    assert str(caught.value).startswith("https://storage.example:9000 ")
    assert _SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("kind", "sent", "transient"),
    [
        (httpx.ConnectError, False, True),
        (httpx.ConnectTimeout, False, True),
        (httpx.PoolTimeout, False, True),
        (httpx.ReadTimeout, True, True),
        (httpx.WriteTimeout, True, True),
        (httpx.ReadError, True, True),
        (httpx.CloseError, True, True),
        (httpx.RemoteProtocolError, True, True),
        (httpx.LocalProtocolError, False, False),
        (httpx.UnsupportedProtocol, False, False),
        (httpx.InvalidURL, False, False),
        (httpx.DecodingError, True, False),
    ],
)
def test_an_error_says_whether_the_request_may_have_arrived_and_is_worth_a_retry(
    kind: type[Exception], sent: bool, transient: bool
) -> None:
    with pytest.raises(ConnectionFailedError) as caught, map_httpx_errors("https://x.example/"):
        raise _made(kind, "boom")
    assert (caught.value.sent, caught.value.transient) == (sent, transient)


def test_the_error_of_an_unreachable_api_names_its_url(call: Call, api: StandIn) -> None:
    api.vanish()
    with pytest.raises(ConnectionFailedError, match=rf"{api.url} can't be reached: .*"):
        call("get_job", uuid4())


@pytest.mark.parametrize("route", ["create", "put", "start", "get", "download"])
@pytest.mark.parametrize("fault", [DROP, Fault(403, body=KEY.encode()), Fault(500)], ids=["drop", "403", "500"])
def test_neither_key_nor_signature_is_in_an_error_its_traceback_or_a_log(
    *, call: Call, api: StandIn, photo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, route: str, fault: Fault
) -> None:
    caplog.set_level(logging.DEBUG)
    api.fail(route, *[fault] * 200)
    with pytest.raises(ClientError) as caught:
        call("download", call("process", photo, STEPS).outputs[0], tmp_path / "x")
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert "HTTP Request" in caplog.text or fault is DROP
    assert KEY not in shown
    assert "5ecre7" not in shown


@pytest.mark.parametrize(
    "make_error",
    [
        lambda errors: InvalidRequestError("It is not valid", errors),
        lambda errors: ApiError(code="validation_failed", status=422, detail="It is not valid", errors=errors),
    ],
    ids=["rejected by the SDK", "rejected by the API"],
)
def test_the_message_has_the_first_field_errors_and_the_number_of_the_others(
    make_error: Callable[[list[FieldError]], ClientError],
) -> None:
    errors = [FieldError(pointer=f"/pipeline/{n}/width", message="must be at least 1") for n in range(7)]
    assert str(make_error(errors[:1])).endswith(": /pipeline/0/width must be at least 1")
    message = str(make_error(errors))
    assert message.startswith("It is not valid")
    assert message.count("must be at least 1") == 5
    assert message.endswith("; and 2 more")
    assert not str(make_error([])).endswith(":")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_key_is_not_in_the_repr_of_a_client_or_its_session(kind: type[Client | AsyncClient]) -> None:
    client = kind("http://127.0.0.1:1", KEY)
    assert KEY not in repr(client) + repr(client._session) + repr(vars(client))
    assert "http://127.0.0.1:1" in repr(client)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("url", "key", "message"),
    [
        (None, "k", "set PIXELFLOW_API_URL"),
        ("", "k", "set PIXELFLOW_API_URL"),
        ("http://x", None, "set PIXELFLOW_API_KEY"),
        ("x:8080", "k", "must be an http or https URL"),
        ("ftp://x", "k", "must be an http or https URL"),
        ("http://x:port", "k", "must be an http or https URL"),
        ("http://[", "k", "must be an http or https URL"),
        ("http://me:pw@x", "k", "must not contain a user name"),
        ("http://x?a=b", "k", "must not contain a user name, a query"),
        ("http://x", "se cret", "must contain only printable ASCII"),
        ("http://x", "secrét", "must contain only printable ASCII"),
        ("http://x", "sec\nret", "must contain only printable ASCII"),
    ],
)
def test_an_invalid_url_or_key_is_rejected_at_once(
    monkeypatch: pytest.MonkeyPatch, kind: type[Client | AsyncClient], url: str | None, key: str | None, message: str
) -> None:
    monkeypatch.delenv("PIXELFLOW_API_URL", raising=False)
    monkeypatch.delenv("PIXELFLOW_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=message) as caught:
        kind(url, key)
    assert not key or key not in str(caught.value) or len(key) == 1


def test_url_and_key_default_to_the_environment(monkeypatch: pytest.MonkeyPatch, api: StandIn) -> None:
    monkeypatch.setenv("PIXELFLOW_API_URL", f"{api.url}/")
    monkeypatch.setenv("PIXELFLOW_API_KEY", f"{KEY}\n")
    with Client() as client:
        assert client.list_jobs().data == []


def test_loopback_is_not_requested_through_a_proxy(monkeypatch: pytest.MonkeyPatch, api: StandIn) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    with Client(api.url, KEY) as client:
        assert client.list_jobs().data == []
