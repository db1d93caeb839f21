"""Rejects requests that are certain to be rejected, before anything else is done for them.

They are over a rate limit, or beyond the requests of their user that may wait for the event loop. A client may send
thousands of such requests a second. They use no connection to a server, their body is not read, and they have neither a
span nor a line in the log: the request that emptied the bucket has both.

Must never reject a request that the route would accept. Calls no server, except to check a credential that was not
checked for a moment; concurrent requests share that check. It has the deadline of a request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from pixelflow.controlplane.api import problems
from pixelflow.controlplane.api.auth import bearer_of, client_network, rate_limit_headers
from pixelflow.controlplane.api.deadline import deadline
from pixelflow.controlplane.api.dispatch import RouteIndex
from pixelflow.controlplane.api.loop_time import crowded
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.middleware import SECURITY_HEADERS, idle, request_id_of
from pixelflow.controlplane.api.services import Services
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.limits.service import Policy, RateLimitResult, hold_seconds
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
            found = await self._find_rejection(scope) if scope["type"] == "http" else None
        except DeadlineExceededError as error:  # the route would only wait once more for the same check
            await self._give_up(error, scope, receive, send)
            return
        if found is None:
            await self._app(scope, receive, send)
            return
        template, rejection = found
        if rejection.hold_seconds:
            with idle(scope):
                await asyncio.sleep(rejection.hold_seconds)
        started = time.perf_counter()  # the time that it was held says nothing about the service
        request_id = request_id_of(scope)
        headers = {**SECURITY_HEADERS, **rejection.headers, "X-Request-ID": request_id}
        await problems.response(rejection.error, request_id, headers)(scope, receive, send)
        if isinstance(rejection.error, RateLimitedError):
            self._metrics.rate_limit_rejected(template)
        status, seconds = problems.status_of(type(rejection.error)), time.perf_counter() - started
        self._metrics.request_finished(scope["method"], template, status, seconds)

    async def _give_up(self, error: DeadlineExceededError, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(scope)
        _log.warning("credential not checked in time", request_id=request_id, code=error.code)
        headers = {**SECURITY_HEADERS, "X-Request-ID": request_id}
        await problems.response(error, request_id, headers)(scope, receive, send)

    async def _find_rejection(self, scope: Scope) -> tuple[str, _Rejection] | None:
        """Return the template of the route and the rejection, or ``None`` if the request may be accepted."""
        found = self._routes.find(scope["method"], scope["path"])
        if found is None:
            return None
        route, _ = found
        rejection = await _find_rejection(scope, route.policy, scope["state"]["services"])
        return None if rejection is None else (route.path, rejection)


@dataclass(frozen=True)
class _Rejection:
    error: PixelflowError
    headers: Mapping[str, str]
    hold_seconds: float

    @classmethod
    def of(cls, result: RateLimitResult | None) -> _Rejection | None:
        """The rejection of a request that is over a limit, if it is."""
        return None if result is None else cls(result.error, rate_limit_headers(result), result.hold_seconds)


async def _find_rejection(scope: Scope, policy: Policy, services: Services) -> _Rejection | None:
    credentials, limits = services.credentials, services.limits
    try:
        credential = bearer_of(scope)
    except UnauthenticatedError:
        return _Rejection.of(limits.find_block(client_network(scope)) if limits else None)
    known = credentials.recognize(credential)
    if known is not None:
        rejection = _rejection_of(known, policy, services)
        return None if rejection is None else await _confirm(rejection, known, credential, policy, services)
    if limits is None:
        return None
    network = client_network(scope)
    block = limits.find_block(network)
    if block is None or (not credentials.is_rejected(credential) and limits.may_check(network)):
        return None
    return _Rejection.of(block)


def _rejection_of(identity: Identity, policy: Policy, services: Services) -> _Rejection | None:
    limited = _Rejection.of(services.limits.find_rejection(identity, policy) if services.limits else None)
    if limited is None and services.loop_time.is_crowded(identity.user_id):
        return _Rejection(crowded(), {}, hold_seconds())
    return limited


async def _confirm(
    rejection: _Rejection, known: Identity, credential: str, policy: Policy, services: Services
) -> _Rejection | None:
    """Return the rejection if the credential is still that of ``known``.

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
    if identity == known and isinstance(rejection.error, RateLimitedError):  # an empty bucket stays empty for a while
        return rejection
    return _rejection_of(identity, policy, services)
