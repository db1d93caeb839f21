"""A route called by ``RouteCall`` responds as it does when FastAPI calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from unittest.mock import MagicMock
from uuid import UUID

import httpx
import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Header,
    Query,
    Request,
    Response,
)
from fastapi.exceptions import ResponseValidationError
from fastapi.requests import HTTPConnection
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from pixelflow.controlplane.api import problems
from pixelflow.controlplane.api.auth import AuthenticatedRoute
from pixelflow.controlplane.api.dispatch import respond
from pixelflow.controlplane.api.middleware import RequestContextMiddleware
from pixelflow.controlplane.api.route_call import RouteCall
from pixelflow.errors import BodyTooLargeError, RequestTimeoutError

JOB = "018f0000-0000-7000-8000-000000000000"


class _Direct(APIRoute):
    def get_route_handler(self) -> Any:  # noqa: ANN401  # FastAPI's
        return RouteCall(self)


class _Thing(BaseModel):
    name: str
    size: int = 1


async def _limit(limit: Annotated[int, Query(ge=1)] = 5) -> int:
    return limit


async def _doubled(limit: Annotated[int, Depends(_limit)], request: Request) -> str:
    return f"{request.method} {limit * 2}"


def _routes(router: APIRouter) -> None:
    @router.get("/jobs/{job_id}", response_model_exclude_unset=True)
    async def show(
        job_id: UUID,
        doubled: Annotated[str, Depends(_doubled)],
        response: Response,
        tag: Annotated[list[str] | None, Query(max_length=2)] = None,
        agent: Annotated[str, Header(max_length=9)] = "none",
    ) -> _Thing:
        response.headers["X-Tag"] = ",".join(tag or [])
        return _Thing(name=f"{job_id} {doubled} {agent}")

    @router.post("/things", status_code=201)
    async def create(thing: _Thing, response: Response) -> _Thing:
        if thing.size > 5:
            response.status_code = 200
        return thing

    @router.post("/values")
    async def echo(body: Annotated[Any, Body()]) -> dict[str, Any]:  # noqa: ANN401
        return {"type": type(body).__name__, "value": None if isinstance(body, bytes) else body}

    @router.delete("/jobs/{job_id}", status_code=204)
    async def erase(job_id: UUID) -> None: ...

    @router.get("/raw")
    async def raw() -> Response:
        return Response(b"raw", 203, {"X-A": "b"})


def _app(route_class: type[APIRoute]) -> FastAPI:
    app, router = FastAPI(), APIRouter(route_class=route_class)
    _routes(router)
    app.include_router(router)
    problems.install(app)

    @app.middleware("http")
    async def add_state(request: Request, call_next: Any) -> Any:  # noqa: ANN401  # Starlette's
        request.state.request_id = "r"
        return await call_next(request)

    return app


JSON = {"Content-Type": "application/json"}
REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "path": ("GET", f"/jobs/{JOB}", {}),
    "bad path": ("GET", "/jobs/1", {}),
    "query": ("GET", f"/jobs/{JOB}?limit=7&tag=a&tag=b", {}),
    "bad query of a dependency": ("GET", f"/jobs/{JOB}?limit=0", {}),
    "several errors": ("GET", "/jobs/1?limit=x&tag=1&tag=2&tag=3", {"headers": {"Agent": "0123456789"}}),
    "header": ("GET", f"/jobs/{JOB}", {"headers": {"Agent": "me"}}),
    "body": ("POST", "/things", {"json": {"name": "a"}}),
    "status of the response": ("POST", "/things", {"json": {"name": "a", "size": 9}}),
    "invalid body": ("POST", "/things", {"json": {"size": "x"}}),
    "no body": ("POST", "/things", {}),
    "null": ("POST", "/things", {"content": b"null", "headers": JSON}),
    "no JSON": ("POST", "/things", {"content": b"{", "headers": JSON}),
    "no UTF-8": ("POST", "/things", {"content": b'{"name": "\xff"}', "headers": JSON}),
    "too deep": ("POST", "/things", {"content": b"[" * 100_000, "headers": JSON}),
    "no content type": ("POST", "/things", {"content": b'{"name": "a"}', "headers": {"Content-Type": ""}}),
    "another content type": ("POST", "/values", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    "parameters of the content type": (
        "POST",
        "/values",
        {"content": b"[1]", "headers": {"Content-Type": "Application/JSON; charset=utf-8"}},
    ),
    "JSON of a kind": ("POST", "/values", {"content": b"{}", "headers": {"Content-Type": "application/x+json"}}),
    "no content": ("DELETE", f"/jobs/{JOB}", {}),
    "a response": ("GET", "/raw", {}),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_gets_the_same_response(name: str) -> None:
    method, path, more = REQUESTS[name]
    answers = []
    for route_class in (APIRoute, _Direct):
        transport = httpx.ASGITransport(_app(route_class))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            response = await client.request(method, path, **more)
            answers.append((response.status_code, response.headers.raw, response.content))
    assert answers[0] == answers[1]


def _plain() -> None: ...


async def _with_cookie(cookie: Annotated[str, Cookie()]) -> None: ...


async def _with_scopes(scopes: SecurityScopes) -> None: ...


async def _with_tasks(tasks: BackgroundTasks) -> None: ...


async def _with_connection(connection: HTTPConnection) -> None: ...


async def _needs_plain(_: Annotated[None, Depends(_plain)]) -> None: ...


async def _yields() -> AsyncIterator[None]:
    yield


async def _needs_yield(_: Annotated[None, Depends(_yields)]) -> None: ...


@pytest.mark.parametrize(
    "function", [_plain, _with_cookie, _with_scopes, _with_tasks, _with_connection, _needs_plain, _needs_yield]
)
def test_arguments_that_are_not_supported_are_refused_at_the_start(function: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError):
        AuthenticatedRoute("/", function)


@pytest.mark.parametrize("option", [{"response_model_exclude_none": True}, {"response_class": HTMLResponse}], ids=str)
def test_responses_that_are_not_supported_are_refused_at_the_start(option: dict[str, Any]) -> None:
    async def show() -> _Thing:
        raise NotImplementedError

    AuthenticatedRoute("/", show)
    with pytest.raises(TypeError):
        AuthenticatedRoute("/", show, **option)


async def test_a_result_that_is_not_of_the_response_model_is_a_bug_and_not_sent() -> None:
    async def show() -> _Thing:
        return {"size": 1, "secret": "s"}  # type: ignore[return-value]

    async def bare():  # type: ignore[no-untyped-def]  # noqa: ANN202
        return {"secret": "s"}

    request = Request({"type": "http", "method": "GET", "path_params": {}, "headers": [], "query_string": b""})
    with pytest.raises(ResponseValidationError):
        await RouteCall(APIRoute("/", show))(request)
    with pytest.raises(TypeError):
        await RouteCall(APIRoute("/", bare))(request)


@pytest.mark.parametrize(
    "error", [BodyTooLargeError("large"), RequestTimeoutError("slow"), ValueError("a bug")], ids=repr
)
async def test_an_error_after_the_response_began_sends_no_second_one(error: Exception) -> None:
    class Stream(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            del scope, receive
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise error

    async def show() -> Response:
        return Stream()

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(RouteCall(APIRoute("/", show)), Request(scope, receive), send)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise NotImplementedError

    app = RequestContextMiddleware(call, metrics=MagicMock())
    scope = {"type": "http", "method": "GET", "path": "/", "path_params": {}, "headers": [], "query_string": b""}
    with pytest.raises(type(error)):
        await app(scope, receive, send)
    assert [message["status"] for message in sent] == [200]
