"""Use cases of webhook endpoints: create, list, change, delete, test."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, of_user
from pixelflow.contracts.webhook_endpoints import (
    TEST_EVENT,
    CreateWebhookEndpointRequest,
    SentTestEvent,
    UpdateWebhookEndpointRequest,
    WebhookEndpoint,
    WebhookEndpointList,
)
from pixelflow.controlplane.webhook_endpoints import store
from pixelflow.controlplane.webhook_endpoints.store import EndpointChange, EndpointRow
from pixelflow.errors import NotFoundError, TooManyWebhookEndpointsError, WebhookEndpointExistsError


class WebhookEndpoints:
    """The endpoints of one user. ``user_id`` comes from the authenticated credentials."""

    def __init__(self, database: AsyncDatabase, *, max_endpoints: int) -> None:
        """``max_endpoints``: of a user. Each event of a job is sent to all of them."""
        self._database = database
        self._max_endpoints = max_endpoints

    async def create(
        self, user_id: str, request: CreateWebhookEndpointRequest, *, endpoint_id: UUID
    ) -> WebhookEndpoint:
        """Create an endpoint. Idempotent by ``endpoint_id``.

        Raises:
            WebhookEndpointExistsError: the user has an endpoint with this URL.
            TooManyWebhookEndpointsError: the user has as many endpoints as allowed.
        """
        new = EndpointRow(
            endpoint_id=endpoint_id,
            url=request.url,
            event_types=sorted(request.event_types) if request.event_types else None,
            description=request.description,
            enabled=request.enabled,
            created_at=datetime.now(UTC),  # the database sets its own
        )
        async with self._database.connection(of_user(user_id)) as connection, connection.transaction():
            await store.lock(connection, user_id=user_id)
            await self._check_limit(connection, user_id, endpoint_id)
            row = await store.insert(connection, user_id=user_id, endpoint=new)
        if row is None:
            raise _exists()
        return _to_response(row)

    async def _check_limit(self, connection: AsyncConnection, user_id: str, endpoint_id: UUID) -> None:
        if await store.count_others(connection, user_id=user_id, endpoint_id=endpoint_id) >= self._max_endpoints:
            raise TooManyWebhookEndpointsError(
                f"You can have {self._max_endpoints} webhook endpoints; delete those that you no longer need"
            )

    async def list_all(self, user_id: str) -> WebhookEndpointList:
        """Return the endpoints of the user, oldest first."""
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await store.list_all(connection, user_id=user_id)
        return WebhookEndpointList(data=[_to_response(row) for row in rows])

    async def get(self, user_id: str, endpoint_id: UUID) -> WebhookEndpoint:
        """Return an endpoint.

        Raises:
            NotFoundError: the user has no such endpoint.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            row = await store.find(connection, user_id=user_id, endpoint_id=endpoint_id)
        if row is None:
            raise endpoint_not_found()
        return _to_response(row)

    async def update(self, user_id: str, endpoint_id: UUID, request: UpdateWebhookEndpointRequest) -> WebhookEndpoint:
        """Change an endpoint. Idempotent.

        Raises:
            NotFoundError: the user has no such endpoint.
            WebhookEndpointExistsError: another endpoint of the user has the new URL.
        """
        change = EndpointChange(
            url=request.url,
            description=request.description,
            enabled=request.enabled,
            changes_event_types=request.changes_event_types,
            event_types=sorted(request.event_types) if request.event_types else None,
        )
        async with self._database.connection(of_user(user_id)) as connection, connection.transaction():
            await store.lock(connection, user_id=user_id)
            if change.url is not None and await store.has_url(
                connection, user_id=user_id, url=change.url, except_for=endpoint_id
            ):
                raise _exists()
            row = await store.update(connection, user_id=user_id, endpoint_id=endpoint_id, change=change)
        if row is None:
            raise endpoint_not_found()
        return _to_response(row)

    async def delete(self, user_id: str, endpoint_id: UUID) -> None:
        """Delete an endpoint. Events that are not delivered yet are not sent.

        Raises:
            NotFoundError: the user has no such endpoint.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            if not await store.delete(connection, user_id=user_id, endpoint_id=endpoint_id):
                raise endpoint_not_found()

    async def test(self, user_id: str, endpoint_id: UUID, *, resource_id: UUID) -> SentTestEvent:
        """Create an event for the endpoint, also if it is disabled. Idempotent by ``resource_id``.

        Raises:
            NotFoundError: the user has no such endpoint.
        """
        event_id = f"msg_{resource_id.hex}"
        async with self._database.connection(of_user(user_id)) as connection:
            exists = await store.insert_test_event(
                connection, user_id=user_id, endpoint_id=endpoint_id, event_id=event_id, event_type=TEST_EVENT
            )
        if not exists:
            raise endpoint_not_found()
        return SentTestEvent(event_id=event_id, endpoint_id=endpoint_id)


def endpoint_not_found() -> NotFoundError:
    """Return the error for an endpoint that does not exist or belongs to another user."""
    return NotFoundError("You have no webhook endpoint with this ID")


def _exists() -> WebhookEndpointExistsError:
    return WebhookEndpointExistsError("You have a webhook endpoint with this URL; change that one, or delete it first")


def _to_response(row: EndpointRow) -> WebhookEndpoint:
    return WebhookEndpoint(**vars(row))
