"""Routes of deliveries."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from pixelflow.contracts import errors
from pixelflow.contracts.webhooks import DeliveryList, ReplayedEvent
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsJobs, WritesWebhooks
from pixelflow.controlplane.api.problems import documented
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.idempotency.calls import IDEMPOTENCY_ERRORS, IdempotentCallOf

router = APIRouter(
    prefix="/v1",
    tags=["webhooks"],
    route_class=AuthenticatedRoute,
    responses=documented(*COMMON_ERRORS, errors.NotFoundError),
)


@router.get("/jobs/{job_id}/deliveries", summary="List the deliveries of a job's webhooks")
async def list_deliveries(identity: ReadsJobs, services: ServicesOf, job_id: UUID) -> DeliveryList:
    """Every try at telling your receiver, newest first (the newest hundred), with what it answered."""
    return await services.webhooks.deliveries(identity.user_id, job_id)


@router.post(
    "/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Send a webhook again",
    responses=documented(*IDEMPOTENCY_ERRORS),
)
async def replay_delivery(
    identity: WritesWebhooks, services: ServicesOf, call: IdempotentCallOf, delivery_id: UUID
) -> ReplayedEvent:
    """Send the delivery's event again, at once, with the same `webhook-id` and the whole retry schedule before it."""

    async def replay(_: UUID) -> ReplayedEvent:
        return await services.webhooks.replay(identity.user_id, delivery_id)

    return await call.run(identity, ReplayedEvent, replay)
