"""Operations on webhook endpoints, shared by both clients. Does no I/O."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal
from uuid import UUID

from pixelflow.client.api_calls import delete, get, patch, post
from pixelflow.client.arguments import to_uuid
from pixelflow.client.models import Operation
from pixelflow.client.operations import validated
from pixelflow.client.session import Session
from pixelflow.contracts.webhook_endpoints import (
    CreateWebhookEndpointRequest,
    SentTestEvent,
    UpdateWebhookEndpointRequest,
    WebhookEndpoint,
    WebhookEndpointList,
)
from pixelflow.contracts.webhooks import DeliveryList, EventType

EventTypes = Collection[EventType | str]
_PATH = "/v1/webhook-endpoints"
_INVALID = "The endpoint is not valid"


def create_webhook_endpoint(
    session: Session, url: str, *, event_types: EventTypes | None = None, description: str = "", enabled: bool = True
) -> Operation[WebhookEndpoint]:
    """Send the events of all your jobs to a URL, from now on, besides the ``webhook_url`` of a job.

    Args:
        session: of the client.
        url: such as ``https://client.example/hooks``.
        event_types: such as ``["job.failed"]``. Default: all, those of later releases among them.
        description: for people.
        enabled: whether it gets events.

    Raises:
        InvalidRequestError: the request is not valid; nothing was sent.
        ApiError: the API rejected the request; ``webhook_endpoint_exists`` if you have an endpoint with this URL.
        ConnectionFailedError: no response.
    """
    raw: dict[str, Any] = {"url": url}
    raw |= {} if event_types is None else {"event_types": list(event_types)}
    raw |= {"description": description} if description else {}
    raw |= {} if enabled else {"enabled": enabled}
    body = validated(CreateWebhookEndpointRequest, raw, message=_INVALID).model_dump_json(exclude_unset=True)
    return (yield from post(session, _PATH, WebhookEndpoint, body.encode()))


def get_webhook_endpoint(session: Session, endpoint_id: UUID | str) -> Operation[WebhookEndpoint]:
    """Return a webhook endpoint.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for an endpoint of another user.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, _endpoint(endpoint_id), WebhookEndpoint))


def list_webhook_endpoints(session: Session) -> Operation[WebhookEndpointList]:
    """Return all webhook endpoints, oldest first.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, _PATH, WebhookEndpointList))


def update_webhook_endpoint(
    session: Session,
    endpoint_id: UUID | str,
    *,
    url: str | None = None,
    event_types: EventTypes | Literal["all"] | None = None,
    description: str | None = None,
    enabled: bool | None = None,
) -> Operation[WebhookEndpoint]:
    """Change the given fields of a webhook endpoint. Idempotent.

    Args:
        session: of the client.
        endpoint_id: ID of the endpoint.
        url: new URL; events that exist already go to the earlier one.
        event_types: types of events, or ``"all"``.
        description: for people.
        enabled: whether it gets events.

    Raises:
        InvalidRequestError: the request is not valid; nothing was sent.
        ApiError: the API rejected the request; ``not_found`` also for an endpoint of another user.
        ConnectionFailedError: no response.
    """
    given = {"url": url, "description": description, "enabled": enabled}
    raw: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if event_types is not None:
        raw["event_types"] = None if event_types == "all" else list(event_types)
    body = validated(UpdateWebhookEndpointRequest, raw, message=_INVALID).model_dump_json(exclude_unset=True)
    return (yield from patch(session, _endpoint(endpoint_id), WebhookEndpoint, body.encode()))


def delete_webhook_endpoint(session: Session, endpoint_id: UUID | str) -> Operation[None]:
    """Delete a webhook endpoint. Events that are not delivered yet are not sent.

    Raises:
        ApiError: the API rejected the request; ``not_found`` if there is none.
        ConnectionFailedError: no response.
    """
    yield from delete(session, _endpoint(endpoint_id))


def test_webhook_endpoint(session: Session, endpoint_id: UUID | str) -> Operation[SentTestEvent]:
    """Send an event of the type ``webhook.test``, also to a disabled endpoint.

    ``list_endpoint_deliveries`` shows the result.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for an endpoint of another user.
        ConnectionFailedError: no response.
    """
    return (yield from post(session, f"{_endpoint(endpoint_id)}/test", SentTestEvent))


def list_endpoint_deliveries(session: Session, endpoint_id: UUID | str) -> Operation[DeliveryList]:
    """Return the latest delivery attempts of an endpoint's events, newest first.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for an endpoint of another user.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, f"{_endpoint(endpoint_id)}/deliveries", DeliveryList))


def _endpoint(endpoint_id: UUID | str) -> str:
    return f"{_PATH}/{to_uuid(endpoint_id, 'endpoint_id')}"
