"""Whether whoever is asking may: the scopes that a route needs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Security
from fastapi.security import SecurityScopes

from pixelflow.contracts.keys import Scope
from pixelflow.controlplane.api.admission import BEARER
from pixelflow.controlplane.identity import Identity


async def _permitted(wanted: SecurityScopes, request: Request, _: Annotated[object, Security(BEARER)]) -> Identity:
    identity: Identity = request.state.identity  # its route has admitted it; one that does not admits nobody
    identity.require(map(Scope, wanted.scopes))
    return identity


ReadsJobs = Annotated[Identity, Security(_permitted, scopes=[Scope.JOBS_READ])]
"""The identity behind a request; a route that asks for it answers 401 or 403 to everybody else."""
WritesJobs = Annotated[Identity, Security(_permitted, scopes=[Scope.JOBS_WRITE])]
ReadsUsage = Annotated[Identity, Security(_permitted, scopes=[Scope.USAGE_READ])]
WritesWebhooks = Annotated[Identity, Security(_permitted, scopes=[Scope.WEBHOOKS_WRITE])]
WritesKeys = Annotated[Identity, Security(_permitted, scopes=[Scope.KEYS_WRITE])]
