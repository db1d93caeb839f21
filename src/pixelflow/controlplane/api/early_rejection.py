"""Rejects requests that are certain to be over a rate limit, before anything else is done for them.

A client over its limit may send thousands of such requests a second. They use no connection to a server, their body is
not read, and they have neither a span nor a line in the log: the request that emptied the bucket has both.

Must never reject a request that the route would accept. Calls no server, except to check a credential that was not
checked for a moment; concurrent requests share that check. It has the deadline of a request.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from pixelflow.controlplane.api import problems
from pixelflow.controlplane.api.auth import bearer_of, client_network, rate_limit_headers
from pixelflow.controlplane.api.deadline import deadline
from pixelflow.controlplane.api.dispatch import RouteIndex
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.middleware import MARK_HELD, SECURITY_HEADERS, request_id_of
from pixelflow.controlplane.api.services import Services
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.limits.service import Policy, RateLimiter, RateLimitResult
from pixelflow.errors import DeadlineExceededError, PixelflowError, RateLimitedError, UnauthenticatedError

_log = structlog.get_logger("pixelflow.access")


class EarlyRejectionMiddleware:
    """Rejects what is certain to be rejected. The outermost middleware."""

    def __init__(self, app: ASGIApp, *, routes: RouteIndex, metrics: ApiMetrics) -> None:
        self._app = app
        self._routes = routes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        try:
            rejection = await self._find_rejection(scope) if scope["type"] == "http" else None
        except DeadlineExceededError as error:  # the route would only wait once more for the same check
            await self._give_up(error, scope, receive, send)
            return
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

    async def _give_up(self, error: DeadlineExceededError, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(scope)
        _log.warning("credential not checked in time", request_id=request_id, code=error.code)
        headers = {**SECURITY_HEADERS, "X-Request-ID": request_id}
        await problems.response(error, request_id, headers)(scope, receive, send)

    async def _find_rejection(self, scope: Scope) -> tuple[str, RateLimitResult] | None:
        """Return the template of the route and the result, or ``None`` if the request may be accepted."""
        found = self._routes.find(scope["method"], scope["path"])
        if found is None:
            return None
        route, _ = found
        services: Services = scope["state"]["services"]
        if services.limits is None:
            return None
        result = await _find_rejection(scope, route.policy, services, services.limits)
        return None if result is None else (route.path, result)


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
    scope: Scope, policy: Policy, services: Services, limits: RateLimiter
) -> RateLimitResult | None:
    credentials = services.credentials
    try:
        credential = bearer_of(scope)
    except UnauthenticatedError:
        return limits.find_block(client_network(scope))
    known = credentials.recognize(credential)
    if known is not None:
        result = limits.find_rejection(known, policy)
        return None if result is None else await _check_rejection(result, known, credential, policy, services)
    network = client_network(scope)
    block = limits.find_block(network)
    if block is None or (not credentials.is_rejected(credential) and limits.may_check(network)):
        return None
    return block


async def _check_rejection(
    result: RateLimitResult, known: Identity, credential: str, policy: Policy, services: Services
) -> RateLimitResult | None:
    """Return the result if the credential is still that of ``known``.

    Raises:
        DeadlineExceededError: the check took as long as a request may.
    """
    try:
        async with deadline(services.request_seconds):
            identity = await services.credentials.authenticate(credential)
    except DeadlineExceededError:
        raise
    except PixelflowError:
        return None  # the route responds
    if identity == known or services.limits is None:
        return result
    return services.limits.find_rejection(identity, policy)
