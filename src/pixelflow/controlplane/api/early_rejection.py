"""Rejects requests that are certain to be over a rate limit, before anything else is done for them.

A client over its limit may send thousands of such requests a second. They use no connection to a server, their body is
not read, and they have neither a span nor a line in the log: the request that emptied the bucket has both.

Must never reject a request that the route would accept. Calls no server, except to check a credential that was not
checked for a moment; concurrent requests share that check.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.types import ASGIApp, Receive, Scope, Send

from pixelflow.controlplane.api import problems
from pixelflow.controlplane.api.auth import AuthenticatedRoute, bearer_of, client_network, rate_limit_headers
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.middleware import MARK_HELD, SECURITY_HEADERS, request_id_of
from pixelflow.controlplane.api.services import Services
from pixelflow.controlplane.credentials import Credentials
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.limits.service import Policy, RateLimiter, RateLimitResult
from pixelflow.errors import PixelflowError, RateLimitedError, UnauthenticatedError


@dataclass(frozen=True)
class LimitedRoute:
    """A route that counts against a rate limit."""

    template: str
    pattern: re.Pattern[str]
    policy: Policy


class LimitedRoutes:
    """Finds a request's route without the router, which takes longer than the whole rejection."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        """Index the routes by method and number of path segments, which leaves at most a few per request."""
        self._routes: defaultdict[tuple[str, int], list[LimitedRoute]] = defaultdict(list)
        for route in _authenticated_routes(routers):
            for method in route.methods or ():
                found = LimitedRoute(route.path, route.path_regex, route.policy)
                self._routes[method, route.path.count("/")].append(found)

    def find(self, method: str, path: str) -> LimitedRoute | None:
        """Return the route, or ``None`` if no limit applies to the request."""
        candidates = self._routes.get((method, path.count("/")), ())
        return next((route for route in candidates if route.pattern.match(path)), None)


class EarlyRejectionMiddleware:
    """Rejects what is certain to be rejected. The outermost middleware."""

    def __init__(self, app: ASGIApp, *, routers: Iterable[APIRouter], metrics: ApiMetrics) -> None:
        self._app = app
        self._routes = LimitedRoutes(routers)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        rejection = await self._find_rejection(scope) if scope["type"] == "http" else None
        if rejection is None:
            await self._app(scope, receive, send)
            return
        template, result = rejection
        await _hold(scope, result.hold_seconds)
        started = time.perf_counter()  # the time that it was held says nothing about the service
        request_id = request_id_of(scope)
        headers = {**SECURITY_HEADERS, **rate_limit_headers(result), "X-Request-ID": request_id}
        await problems.response(result.error, request_id, headers)(scope, receive, send)
        self._metrics.rate_limit_rejected(template)
        seconds = time.perf_counter() - started
        self._metrics.request_finished(scope["method"], template, problems.status_of(RateLimitedError), seconds)

    async def _find_rejection(self, scope: Scope) -> tuple[str, RateLimitResult] | None:
        """Return the template of the route and the result, or ``None`` if the request may be accepted."""
        route = self._routes.find(scope["method"], scope["path"])
        if route is None:
            return None
        services: Services = scope["state"]["services"]
        if services.limits is None:
            return None
        result = await _find_rejection(scope, route.policy, services.credentials, services.limits)
        return None if result is None else (route.template, result)


async def _hold(scope: Scope, seconds: float) -> None:
    if not seconds:
        return
    mark_held = scope["state"][MARK_HELD]
    mark_held(True)
    try:
        await asyncio.sleep(seconds)
    finally:
        mark_held(False)


async def _find_rejection(
    scope: Scope, policy: Policy, credentials: Credentials, limits: RateLimiter
) -> RateLimitResult | None:
    try:
        credential = bearer_of(scope)
    except UnauthenticatedError:
        return limits.find_block(client_network(scope))
    known = credentials.recognize(credential)
    if known is not None:
        return await _find_rejection_of(known, credential, policy, credentials, limits)
    network = client_network(scope)
    block = limits.find_block(network)
    if block is None or (not credentials.is_rejected(credential) and limits.may_check(network)):
        return None
    return block


async def _find_rejection_of(
    known: Identity, credential: str, policy: Policy, credentials: Credentials, limits: RateLimiter
) -> RateLimitResult | None:
    result = limits.find_rejection(known, policy)
    if result is None:
        return None
    try:
        identity = await credentials.authenticate(credential)
    except PixelflowError:
        return None  # the route responds
    return result if identity == known else limits.find_rejection(identity, policy)


def _authenticated_routes(routers: Iterable[APIRouter]) -> Iterator[AuthenticatedRoute]:
    return (route for router in routers for route in router.routes if isinstance(route, AuthenticatedRoute))
