"""HTTP routes of webhook deliveries and of the webhook secret."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from pixelflow import errors
from pixelflow.contracts.webhook_endpoints import WebhookSecret
from pixelflow.contracts.webhooks import DeliveryList, ReplayedEvent, RotatedSecret
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsJobs, WritesWebhooks
from pixelflow.controlplane.api.problems import documented
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.idempotency.calls import IDEMPOTENCY_ERRORS, IdempotentCallOf

router = APIRouter(prefix="/v1", tags=["webhooks"], route_class=AuthenticatedRoute)


@router.get(
    "/jobs/{job_id}/deliveries",
    summary="List the deliveries of a job's webhooks",
    responses=documented(*COMMON_ERRORS, errors.NotFoundError),
)
async def list_deliveries(identity: ReadsJobs, services: ServicesOf, job_id: UUID) -> DeliveryList:
    """List the attempts to deliver the job's events, newest first, with your receiver's responses. At most 100."""
    return await services.webhooks.list_deliveries(identity.user_id, job_id)


@router.get(
    "/batches/{batch_id}/deliveries",
    summary="List the deliveries of a batch's webhooks",
    responses=documented(*COMMON_ERRORS, errors.NotFoundError),
)
async def list_batch_deliveries(identity: ReadsJobs, services: ServicesOf, batch_id: UUID) -> DeliveryList:
    """List the attempts to deliver the batch's events, newest first, with your receiver's responses. At most 100."""
    return await services.webhooks.list_batch_deliveries(identity.user_id, batch_id)


@router.post(
    "/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Send a webhook again",
    responses=documented(
        *COMMON_ERRORS, errors.NotFoundError, *IDEMPOTENCY_ERRORS, errors.WebhookEndpointDisabledError
    ),
)
async def replay_delivery(
    identity: WritesWebhooks, services: ServicesOf, call: IdempotentCallOf, delivery_id: UUID
) -> ReplayedEvent:
    """Send the delivery's event again immediately, with the same `webhook-id` and a new retry schedule."""

    async def replay(_: UUID) -> ReplayedEvent:
        return await services.webhooks.replay(identity.user_id, delivery_id)

    return await call.run(identity, ReplayedEvent, replay)


@router.post(
    "/webhook-secret",
    status_code=201,
    summary="Get your webhook secret",
    responses=documented(*COMMON_ERRORS, *IDEMPOTENCY_ERRORS, errors.WebhookSecretExistsError),
)
async def create_webhook_secret(
    identity: WritesWebhooks, services: ServicesOf, call: IdempotentCallOf, response: Response
) -> WebhookSecret:
    """Return the secret to verify webhooks with, once. Use it before your first job; later, rotate the secret."""
    response.headers["Cache-Control"] = "no-store"

    async def create(_: UUID) -> WebhookSecret:
        return await services.webhooks.create_secret(identity.user_id)

    return await call.run(identity, WebhookSecret, create)


@router.post(
    "/webhook-secret/rotate",
    summary="Get a new webhook secret",
    responses=documented(*COMMON_ERRORS, *IDEMPOTENCY_ERRORS),
)
async def rotate_webhook_secret(
    identity: WritesWebhooks, services: ServicesOf, call: IdempotentCallOf, response: Response
) -> RotatedSecret:
    """Create a new secret to verify webhooks with. It is shown once. The previous secret stays valid for 24 hours."""
    response.headers["Cache-Control"] = "no-store"

    async def rotate(_: UUID) -> RotatedSecret:
        return await services.webhooks.rotate_secret(identity.user_id)

    return await call.run(identity, RotatedSecret, rotate)
