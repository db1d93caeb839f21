"""The route of the secret that webhooks are signed with."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from pixelflow.contracts.webhooks import RotatedSecret
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, WritesWebhooks
from pixelflow.controlplane.api.problems import documented
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.idempotency.calls import IDEMPOTENCY_ERRORS, IdempotentCallOf

router = APIRouter(
    prefix="/v1/webhook-secret",
    tags=["webhooks"],
    route_class=AuthenticatedRoute,
    responses=documented(*COMMON_ERRORS),
)


@router.post("/rotate", summary="Get a new webhook secret", responses=documented(*IDEMPOTENCY_ERRORS))
async def rotate_webhook_secret(
    identity: WritesWebhooks, services: ServicesOf, call: IdempotentCallOf, response: Response
) -> RotatedSecret:
    """Get a secret to verify webhooks with: shown this once. The one before it signs beside it for 24 hours."""
    response.headers["Cache-Control"] = "no-store"

    async def rotate(_: UUID) -> RotatedSecret:
        return await services.webhook_secrets.rotate(identity.user_id)

    return await call.run(identity, RotatedSecret, rotate)
