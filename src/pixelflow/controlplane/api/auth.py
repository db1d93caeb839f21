"""Authentication, rate limits and scopes of every route that needs a credential.

Authentication is a route class, not a dependency, which would run after the body is parsed. A request that is rejected
here has no effect, and its body is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cached_property, partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Any

import structlog
from fastapi import Request, Response, Security
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from starlette import types

from pixelflow import errors
from pixelflow.contracts.keys import Scope
from pixelflow.controlplane.api.deadline import deadline
from pixelflow.controlplane.api.middleware import route_of, waiting
from pixelflow.controlplane.api.parameters import check_query, query_fields
from pixelflow.controlplane.api.route_call import RouteCall
from pixelflow.controlplane.api.services import Services
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.keys.service import unauthenticated
from pixelflow.controlplane.limits.service import Policy, RateLimiter, RateLimitResult
from pixelflow.errors import RateLimitedError, UnauthenticatedError

COMMON_ERRORS = (
    UnauthenticatedError,
    RateLimitedError,
    errors.InsufficientScopeError,
    errors.StoreUnavailableError,
    errors.ResourceBusyError,
    errors.StoreReadOnlyError,
    errors.DeadlineExceededError,
    errors.LimiterUnavailableError,
    errors.TooManyRequestsError,
)
"""Errors of every authenticated route."""
IPV6_PREFIX = 64
"""Bits of an IPv6 network that counts as one client: providers assign at least this much to a customer (RFC 6177), who
can use any address in it."""
UNKNOWN_NETWORK = "unknown"
"""Clients without an IP address, such as those of a Unix socket, and those whose proxy sends no valid address."""

_CREDENTIAL = (
    "Send `Authorization: Bearer pf_…` with an API key, or a token (JWT) from the issuer that the operator "
    "has configured. Each operation lists the scope that it requires."
)
_POLICIES = {
    "create_job": Policy.CREATE,
    "create_batch": Policy.CREATE,
    "add_jobs": Policy.CREATE,
    "start_job": Policy.START,
    "retry_job": Policy.START,
}
"""Rate limit policies by route name. Of the other routes, those that only read share one, and the rest another."""


# ── Authentication and rate limits ───────────────────────────────────────────────────────────────


class AuthenticatedRoute(APIRoute):
    """A route that requires a credential and counts against rate limits."""

    @cached_property
    def policy(self) -> Policy:
        """The rate limit that requests count against."""
        reads = self.methods is not None and self.methods <= {"GET", "HEAD"}
        return _POLICIES.get(self.name, Policy.READ if reads else Policy.OTHER)

    @cached_property
    def _query_fields(self) -> list[Any]:
        return query_fields(self)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return :meth:`respond`, in place of FastAPI's handler. FastAPI calls this when the route is complete.

        Raises:
            TypeError: the function of the route takes or returns what is not supported.
        """
        self._call = RouteCall(self)
        return self.respond

    async def respond(self, request: Request) -> Response:
        """Authenticate and count the request, and call the function of the route, all within the deadline.

        Raises:
            PixelflowError, RequestValidationError, HTTPException: see ``problems``.
        """
        services: Services = request.state.services
        async with deadline(services.request_seconds) as timeout:
            request.state.deadline = timeout
            identity = await _authenticate_client(request, services)
            structlog.contextvars.bind_contextvars(user_id=identity.user_id)
            if services.limits is not None:
                _enforce(request, services.limits, await services.limits.count_request(identity, self.policy))
            request.state.identity = identity
            check_query(request, self._query_fields)
            work = partial(self._call, request)
            return await services.loop_time.run(identity.user_id, work, partial(waiting, request.scope))


async def _authenticate_client(request: Request, services: Services) -> Identity:
    """Authenticate the request. Count a failure against the client's network."""
    try:
        return await services.credentials.authenticate(bearer_of(request.scope))
    except UnauthenticatedError:
        limits = services.limits
        if limits is not None:
            _enforce(request, limits, await limits.count_failed_auth(client_network(request.scope)))
        raise


def bearer_of(scope: types.Scope) -> str:
    """Return the credential in the ``Authorization`` header.

    Raises:
        UnauthenticatedError: there is none, or more than one header: proxies and servers may pick different ones.
    """
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) > 1:
        raise UnauthenticatedError("The request has more than one `Authorization` header; send one")
    scheme, _, credential = values[0].decode("latin-1").partition(" ") if values else ("", "", "")
    if scheme.lower() != "bearer" or not credential.strip():
        raise unauthenticated(_scheme_error(scope, scheme, credential))
    return credential.strip()


def _scheme_error(scope: types.Scope, scheme: str, credential: str) -> str:
    """What to change in a request without a bearer credential. Says nothing about the credential itself."""
    if any(name in {b"x-api-key", b"api-key"} for name, _ in scope["headers"]):
        return "Send the key as `Authorization: Bearer pf_…`; other headers are not read"
    if scheme.startswith("pf_"):
        return "Write `Bearer` and a blank before the key: `Authorization: Bearer pf_…`"
    if scheme and credential:
        return "Use the scheme `Bearer`: `Authorization: Bearer pf_…`"
    return ""


def _enforce(request: Request, limits: RateLimiter, result: RateLimitResult | None) -> None:
    """Set the RateLimit headers of any response to this request, and reject the request if no token was left.

    Raises:
        RateLimitedError: no token was left.
    """
    if result is None:
        return
    request.state.headers = rate_limit_headers(result)
    if not result.bucket.allowed:
        limits.metrics.rate_limit_rejected(route_of(request.scope))
        raise result.error


def rate_limit_headers(result: RateLimitResult) -> dict[str, str]:
    """Format the headers of draft-ietf-httpapi-ratelimit-headers-11: a list of one string with parameters (RFC 9651).

    ``t`` is the time until the next token. A client with ``r`` tokens left can send no more requests than that until
    then.
    """
    quota, policy = result.quota, f'"{result.policy}"'
    return {
        "RateLimit-Policy": f"{policy};q={quota.capacity};w={quota.window_seconds}",
        "RateLimit": f"{policy};r={result.bucket.remaining};t={result.refill_seconds}",
    }


# ── The client's network ─────────────────────────────────────────────────────────────────────────


def client_network(scope: types.Scope) -> str:
    """Return the network that failed authentication is counted for.

    Reads no headers: uvicorn has already replaced the address of a trusted proxy with the client's (``make_server``).
    """
    return network_of(scope["client"][0]) if scope.get("client") else UNKNOWN_NETWORK


def network_of(host: str) -> str:
    """Return the canonical IPv4 address or IPv6 network of ``host``."""
    try:
        address = ip_address(host.partition("%")[0])  # a zone names the receiving interface, not the client
    except ValueError:
        return UNKNOWN_NETWORK
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_network((address, IPV6_PREFIX), strict=False))


# ── Scopes ───────────────────────────────────────────────────────────────────────────────────────


class _Requires(SecurityBase):
    """A dependency: the identity behind a request, which must have a scope."""

    def __init__(self, scope: Scope) -> None:
        self.model = HTTPBearerModel(description=_CREDENTIAL)
        self.scheme_name = "ApiKey"
        self._scope = scope

    async def __call__(self, request: Request) -> Identity:
        """Return the identity.

        Raises:
            InsufficientScopeError: it lacks the scope.
        """
        identity: Identity = request.state.identity  # set by AuthenticatedRoute; fails closed on any other route class
        identity.require([self._scope])
        return identity


ReadsJobs = Annotated[Identity, Security(_Requires(Scope.JOBS_READ), scopes=[Scope.JOBS_READ])]
"""The identity behind a request, which must have this scope; other requests get 403."""
WritesJobs = Annotated[Identity, Security(_Requires(Scope.JOBS_WRITE), scopes=[Scope.JOBS_WRITE])]
ReadsUsage = Annotated[Identity, Security(_Requires(Scope.USAGE_READ), scopes=[Scope.USAGE_READ])]
WritesWebhooks = Annotated[Identity, Security(_Requires(Scope.WEBHOOKS_WRITE), scopes=[Scope.WEBHOOKS_WRITE])]
WritesKeys = Annotated[Identity, Security(_Requires(Scope.KEYS_WRITE), scopes=[Scope.KEYS_WRITE])]
