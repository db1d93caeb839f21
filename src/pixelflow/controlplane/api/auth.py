"""Who is asking: the bearer of an API key."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from pixelflow.contracts.problems import UnauthenticatedError
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.keys import Identity, recognise

_BEARER = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="`Authorization: Bearer pf_…`")


async def _authenticate(
    services: ServicesOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> Identity:
    if credentials is None:
        raise UnauthenticatedError("Send your API key as `Authorization: Bearer pf_…`")
    identity = await recognise(services.database, credentials.credentials)
    structlog.contextvars.bind_contextvars(user_id=identity.user_id)
    return identity


IdentityOf = Annotated[Identity, Depends(_authenticate)]
"""The identity behind a request; a route that asks for it answers 401 to everybody else."""
