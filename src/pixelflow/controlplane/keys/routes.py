"""Routes of API keys."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from pixelflow import errors
from pixelflow.contracts.keys import CreatedKey, CreateKeyRequest, KeyList
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, WritesKeys
from pixelflow.controlplane.api.problems import documented
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.idempotency.calls import IDEMPOTENCY_ERRORS, IdempotentCallOf

router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    route_class=AuthenticatedRoute,
    responses=documented(*COMMON_ERRORS),
)


@router.post(
    "",
    status_code=201,
    summary="Create a key",
    responses=documented(
        *IDEMPOTENCY_ERRORS,
        errors.MalformedRequestError,
        errors.TooManyKeysError,
        errors.BodyTooLargeError,
        errors.UnsupportedMediaTypeError,
        errors.ValidationFailedError,
    ),
)
async def create_key(
    identity: WritesKeys, services: ServicesOf, call: IdempotentCallOf, response: Response, key: CreateKeyRequest
) -> CreatedKey:
    """Create an API key for your user.

    The response contains the full key; it can't be shown again. You can only grant scopes that your own credential has.
    The new key shares the rate limit of the key that creates it.
    """
    identity.require(key.scopes)
    response.headers["Cache-Control"] = "no-store"

    async def create(resource_id: UUID) -> CreatedKey:
        return await services.keys.create(
            identity.user_id, key, resource_id=resource_id, rate_limit=identity.rate_limit
        )

    return await call.run(identity, CreatedKey, create)


@router.get("", summary="List keys")
async def list_keys(identity: WritesKeys, services: ServicesOf) -> KeyList:
    """List your API keys: active keys first, then newest first."""
    return await services.keys.list_all(identity.user_id)


@router.delete("/{key_id}", status_code=204, summary="Revoke a key", responses=documented(errors.NotFoundError))
async def revoke_key(identity: WritesKeys, services: ServicesOf, key_id: str) -> None:
    """Revoke one of your API keys.

    Within two seconds, all requests with the key get 401. Revoking a key again has no effect. You can only revoke keys
    whose scopes your own credential has.
    """
    await services.keys.revoke(identity, key_id)
    services.credentials.forget_key(key_id)
