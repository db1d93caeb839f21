"""Who is asking, by an API key or a token, and whether they may."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from pixelflow.contracts.keys import Scope
from pixelflow.controlplane.api.services import Services, ServicesOf
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.keys import PREFIX, refusal

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="`Authorization: Bearer pf_…`, or a token (JWT) of the issuer that the operator trusts. "
    "Beside each route stands the scope that it needs.",
)


async def _authenticate(
    wanted: SecurityScopes,
    services: ServicesOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> Identity:
    if credentials is None:
        raise refusal()
    identity = await _recognise(services, credentials.credentials)
    structlog.contextvars.bind_contextvars(user_id=identity.user_id)
    identity.require(map(Scope, wanted.scopes))
    return identity


async def _recognise(services: Services, bearer: str) -> Identity:
    if bearer.startswith(PREFIX):
        return await services.keys.recognise(bearer)
    if services.tokens is None:
        raise refusal()
    return await services.tokens.recognise(bearer)


ReadsJobs = Annotated[Identity, Security(_authenticate, scopes=[Scope.JOBS_READ])]
"""The identity behind a request; a route that asks for it answers 401 or 403 to everybody else."""
WritesJobs = Annotated[Identity, Security(_authenticate, scopes=[Scope.JOBS_WRITE])]
ReadsUsage = Annotated[Identity, Security(_authenticate, scopes=[Scope.USAGE_READ])]
WritesWebhooks = Annotated[Identity, Security(_authenticate, scopes=[Scope.WEBHOOKS_WRITE])]
WritesKeys = Annotated[Identity, Security(_authenticate, scopes=[Scope.KEYS_WRITE])]
