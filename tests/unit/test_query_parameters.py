"""Unknown query parameters: all are refused, and a request with thousands of them costs no more than one with few."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from fastapi import Depends, Query, Request
from fastapi.dependencies.utils import request_params_to_args
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams

import pixelflow
from pixelflow import errors
from pixelflow.controlplane.api import parameters

KNOWN = ("cursor", "limit", "status")


def _request(*names: str) -> Request:
    rows = [{"name": name, "in": "query"} for name in KNOWN]
    app = SimpleNamespace(openapi=lambda: {"paths": {"/v1/jobs": {"get": {"parameters": rows}}}})
    query = urlencode([(name, "") for name in names]).encode()
    route = SimpleNamespace(path="/v1/jobs")
    return Request({"type": "http", "method": "GET", "query_string": query, "app": app, "route": route})


def _refusal(*names: str) -> errors.ValidationFailedError:
    with pytest.raises(errors.ValidationFailedError) as caught:
        parameters.check_query(_request(*names))
    return caught.value


def test_known_parameters_pass() -> None:
    parameters.check_query(_request(*KNOWN))


def test_each_unknown_parameter_is_named_once() -> None:
    refused = _refusal("statsu", "limit", "statsu", "x")
    assert [error.pointer for error in refused.errors] == ["/query/statsu", "/query/x"]
    assert "did you mean `status`?" in refused.errors[0].message


def test_few_of_thousands_of_unknown_parameters_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison takes up to 50 µs of the event loop."""
    compared: list[object] = []
    monkeypatch.setattr(parameters, "similar", lambda name, *_: compared.append(name))
    refused = _refusal(*(f"{number:x}" for number in range(4000)))
    assert len(refused.errors) == 100
    assert len(compared) <= 20


# ── Internals of FastAPI ─────────────────────────────────────────────────────────────────────────


async def _shared(cursor: str = "") -> None: ...


async def _endpoint(_: None = Depends(_shared), limit: int = Query(20, le=100)) -> None: ...


def test_internals_of_fastapi_give_the_parameters_of_a_route_and_validate_them() -> None:
    """If this fails with a new FastAPI, change parameters.py."""
    fields = parameters.query_fields(APIRoute("/", _endpoint))
    assert sorted(field.alias for field in fields) == ["cursor", "limit"]
    values, faults = request_params_to_args(fields, QueryParams("cursor=x&limit=7"))
    assert (values, faults) == ({"limit": 7, "cursor": "x"}, [])
    _, [fault] = request_params_to_args(fields, QueryParams("limit=101"))
    assert parameters.parameter_error(fault) == errors.FieldError(pointer="/query/limit", message="must be at most 100")


def test_no_other_module_uses_internals_of_fastapi() -> None:
    root = Path(pixelflow.__file__).parent
    internals = re.compile(r"^\s*(from|import) fastapi\.(_|dependencies)", re.MULTILINE)
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if internals.search(path.read_text())}
    assert found == {"controlplane/api/parameters.py", "controlplane/api/route_call.py"}
