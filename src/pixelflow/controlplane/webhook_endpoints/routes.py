"""HTTP routes of webhook endpoints."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Request
from pydantic import WrapValidator

from pixelflow import errors
from pixelflow.contracts.webhook_endpoints import (
    CreateWebhookEndpointRequest,
    SentTestEvent,
    UpdateWebhookEndpointRequest,
    WebhookEndpoint,
    WebhookEndpointList,
)
from pixelflow.contracts.webhooks import DeliveryList
from pixelflow.controlplane.api import webhook_examples as examples
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsJobs, WritesWebhooks
from pixelflow.controlplane.api.problems import documented, validate_body
from pixelflow.controlplane.api.services import Services, ServicesOf
from pixelflow.controlplane.idempotency.calls import IDEMPOTENCY_ERRORS, IdempotentCallOf

router = APIRouter(
    prefix="/v1/webhook-endpoints",
    tags=["webhooks"],
    route_class=AuthenticatedRoute,
    responses=documented(*COMMON_ERRORS),
)
_BODY_ERRORS = (
    errors.MalformedRequestError,
    errors.BodyTooLargeError,
    errors.UnsupportedMediaTypeError,
    errors.ValidationFailedError,
    errors.WebhookEndpointExistsError,
)

# The annotations document the bodies; the dependencies validate them, because FastAPI can't pass a validation context.
_RawCreateRequest = Annotated[
    CreateWebhookEndpointRequest,
    WrapValidator(lambda value, _: value),
    Body(openapi_examples=examples.CREATE_ENDPOINT),
]
_RawUpdateRequest = Annotated[
    UpdateWebhookEndpointRequest,
    WrapValidator(lambda value, _: value),
    Body(openapi_examples=examples.UPDATE_ENDPOINT),
]


async def _create_request(request: Request, body: _RawCreateRequest) -> CreateWebhookEndpointRequest:
    services: Services = request.state.services
    return validate_body(CreateWebhookEndpointRequest, body, context=services.jobs.request_limits)


async def _update_request(request: Request, body: _RawUpdateRequest) -> UpdateWebhookEndpointRequest:
    services: Services = request.state.services
    return validate_body(UpdateWebhookEndpointRequest, body, context=services.jobs.request_limits)


@router.post(
    "",
    status_code=201,
    summary="Create a webhook endpoint",
    responses=documented(*IDEMPOTENCY_ERRORS, *_BODY_ERRORS, errors.TooManyWebhookEndpointsError),
)
async def create_webhook_endpoint(
    identity: WritesWebhooks,
    services: ServicesOf,
    call: IdempotentCallOf,
    endpoint: Annotated[CreateWebhookEndpointRequest, Depends(_create_request)],
) -> WebhookEndpoint:
    """Send the events of all your jobs to a URL, from now on, besides the `webhook_url` of a job."""

    async def create(endpoint_id: UUID) -> WebhookEndpoint:
        return await services.webhook_endpoints.create(identity.user_id, endpoint, endpoint_id=endpoint_id)

    return await call.run(identity, WebhookEndpoint, create)


@router.get("", summary="List webhook endpoints")
async def list_webhook_endpoints(identity: ReadsJobs, services: ServicesOf) -> WebhookEndpointList:
    """List your webhook endpoints, oldest first."""
    return await services.webhook_endpoints.list_all(identity.user_id)


@router.get("/{endpoint_id}", summary="Show a webhook endpoint", responses=documented(errors.NotFoundError))
async def get_webhook_endpoint(identity: ReadsJobs, services: ServicesOf, endpoint_id: UUID) -> WebhookEndpoint:
    """Return a webhook endpoint."""
    return await services.webhook_endpoints.get(identity.user_id, endpoint_id)


@router.patch(
    "/{endpoint_id}",
    summary="Change a webhook endpoint",
    responses=documented(errors.NotFoundError, *_BODY_ERRORS),
)
async def update_webhook_endpoint(
    identity: WritesWebhooks,
    services: ServicesOf,
    endpoint_id: UUID,
    change: Annotated[UpdateWebhookEndpointRequest, Depends(_update_request)],
) -> WebhookEndpoint:
    """Change the fields that the request has. While an endpoint is disabled, nothing is sent to it, except tests."""
    return await services.webhook_endpoints.update(identity.user_id, endpoint_id, change)


@router.delete(
    "/{endpoint_id}", status_code=204, summary="Delete a webhook endpoint", responses=documented(errors.NotFoundError)
)
async def delete_webhook_endpoint(identity: WritesWebhooks, services: ServicesOf, endpoint_id: UUID) -> None:
    """Delete a webhook endpoint. Events that are not delivered yet are not sent."""
    await services.webhook_endpoints.delete(identity.user_id, endpoint_id)


@router.post(
    "/{endpoint_id}/test",
    status_code=202,
    summary="Send a test event",
    responses=documented(errors.NotFoundError, *IDEMPOTENCY_ERRORS),
)
async def test_webhook_endpoint(
    identity: WritesWebhooks, services: ServicesOf, call: IdempotentCallOf, endpoint_id: UUID
) -> SentTestEvent:
    """Send an event of the type `webhook.test`, also to a disabled endpoint. Its deliveries show the result."""

    async def send(resource_id: UUID) -> SentTestEvent:
        return await services.webhook_endpoints.test(identity.user_id, endpoint_id, resource_id=resource_id)

    return await call.run(identity, SentTestEvent, send)


@router.get(
    "/{endpoint_id}/deliveries",
    summary="List the deliveries of a webhook endpoint",
    responses=documented(errors.NotFoundError),
)
async def list_endpoint_deliveries(identity: ReadsJobs, services: ServicesOf, endpoint_id: UUID) -> DeliveryList:
    """List the attempts to deliver the newest 100 events of the endpoint, newest first. At most 100."""
    return await services.webhooks.list_endpoint_deliveries(identity.user_id, endpoint_id)
