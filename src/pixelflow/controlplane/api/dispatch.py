"""Finds the route of a request that needs a credential, and responds with it.

An index by method and number of path segments, in place of FastAPI's router, which tries all routes one after another.
Every other request is FastAPI's: health checks, documentation, and paths or methods that no route has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixelflow.controlplane.api import problems
from pixelflow.controlplane.api.auth import AuthenticatedRoute


class RouteIndex:
    """The routes that need a credential."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        """Index the routes by method and number of path segments, which leaves at most a few per request."""
        self._routes: defaultdict[tuple[str, int], list[AuthenticatedRoute]] = defaultdict(list)
        for route in _authenticated_routes(routers):
            for method in route.methods or ():
                self._routes[method, route.path.count("/")].append(route)

    def find(self, method: str, path: str) -> tuple[AuthenticatedRoute, dict[str, str]] | None:
        """Return the route and the parameters in its path, or ``None`` if the request is none of these routes'."""
        for route in self._routes.get((method, path.count("/")), ()):
            match = route.path_regex.match(path)
            if match:
                return route, match.groupdict()
        return None


class DispatchMiddleware:
    """Responds to the requests of these routes. The innermost middleware."""

    def __init__(self, app: ASGIApp, *, routes: RouteIndex) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        found = self._routes.find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = found
        await respond(found[0].respond, Request(scope, receive, send), send)


async def respond(call: Callable[[Request], Awaitable[Response]], request: Request, send: Send) -> None:
    """Send the response of a call, or that of the error that it raises.

    Raises:
        Exception: a bug, or any error after the response began.
    """
    has_started = False

    async def send_and_note(message: Message) -> None:
        nonlocal has_started
        has_started = True
        await send(message)

    try:
        response = await call(request)
        await response(request.scope, request.receive, send_and_note)
    except problems.EXPECTED as error:
        if has_started:
            raise
        response = await problems.respond(request, error)
        await response(request.scope, request.receive, send)


def _authenticated_routes(routers: Iterable[APIRouter]) -> Iterator[AuthenticatedRoute]:
    return (route for router in routers for route in router.routes if isinstance(route, AuthenticatedRoute))
