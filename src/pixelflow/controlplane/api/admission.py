"""The door of every route that needs a credential: who is asking is found out, and counted, before anything else.

A class of routes and not a dependency: FastAPI reads and parses the body before it looks at dependencies. What is
refused here has read no body and done nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from pixelflow.contracts import errors
from pixelflow.contracts.errors import RateLimitedError, UnauthenticatedError
from pixelflow.controlplane.api import addresses
from pixelflow.controlplane.api.middleware import route_of
from pixelflow.controlplane.api.services import Services
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.keys.service import PREFIX, unauthenticated
from pixelflow.controlplane.limits.service import Policy, RateLimiter, RateLimitResult

BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="`Authorization: Bearer pf_…`, or a token (JWT) of the issuer that the operator trusts. "
    "Beside each route stands the scope that it needs.",
)
COMMON_ERRORS = (
    UnauthenticatedError,
    RateLimitedError,
    errors.InsufficientScopeError,
    errors.StoreUnavailableError,
    errors.LimiterUnavailableError,
)
"""What every such route may answer with."""
_POLICIES = {"create_job": Policy.CREATE, "start_job": Policy.START, "retry_job": Policy.START}
"""By the name of the route; all others share one."""


class AuthenticatedRoute(APIRoute):
    """A route that is open to users only, and counted."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's own, behind the door."""
        handle = super().get_route_handler()

        async def admitted(request: Request) -> Response:
            await self._admit(request)
            return await handle(request)

        return admitted

    async def _admit(self, request: Request) -> None:
        services: Services = request.state.services
        identity = await self._recognise(request, services)
        structlog.contextvars.bind_contextvars(user_id=identity.user_id)
        if services.limits is not None:
            policy = _POLICIES.get(self.name, Policy.OTHER)
            self._mind(request, services.limits, await services.limits.charge(identity, policy))
        request.state.identity = identity

    async def _recognise(self, request: Request, services: Services) -> Identity:
        limits = services.limits
        if limits is None:
            return await _recognise(request, services)
        origin = addresses.origin(request)
        self._mind(request, limits, limits.shut_out(origin))
        try:
            return await _recognise(request, services)
        except UnauthenticatedError:
            self._mind(request, limits, await limits.charge_stranger(origin))
            raise

    def _mind(self, request: Request, limits: RateLimiter, standing: RateLimitResult | None) -> None:
        """Tell how the caller stands, whatever the answer will be, and refuse whoever has nothing left."""
        if standing is None:
            return
        request.state.headers = headers(standing)
        if standing.taking.taken:
            return
        limits.counts.rejected(route_of(request.scope))
        quota, seconds = standing.quota, _whole_seconds(standing)
        raise RateLimitedError(
            f"At most {quota.capacity} requests of the class `{standing.policy}` within {quota.window_seconds} s; "
            f"try again in {seconds} s",
            retry_after=seconds,
        )


async def _recognise(request: Request, services: Services) -> Identity:
    credentials = await BEARER(request)
    if credentials is None:
        raise unauthenticated()
    if credentials.credentials.startswith(PREFIX):
        return await services.keys.recognise(credentials.credentials)
    if services.tokens is None:
        raise unauthenticated()
    return await services.tokens.recognise(credentials.credentials)


def headers(standing: RateLimitResult) -> dict[str, str]:
    """As in draft-ietf-httpapi-ratelimit-headers-11: lists of one item each, a string with parameters (RFC 9651).

    ``t`` is when there will be one more; a client that has ``r`` left can send no more than that until then.
    """
    quota, policy = standing.quota, f'"{standing.policy}"'
    return {
        "RateLimit-Policy": f"{policy};q={quota.capacity};w={quota.window_seconds}",
        "RateLimit": f"{policy};r={standing.taking.left};t={_whole_seconds(standing)}",
    }


def _whole_seconds(standing: RateLimitResult) -> int:
    return max(1, math.ceil(standing.taking.next_seconds))
