"""Webhook endpoints: URLs that get the events of all jobs of a user. The requests and responses of their routes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, StringConstraints, model_validator

from pixelflow.contracts.jobs.requests import NO_NUL_PATTERN, WebhookUrl
from pixelflow.contracts.responses import Open, ResponseModel
from pixelflow.contracts.webhooks import EventType
from pixelflow.cross_field import CrossFieldError, fields_of, validate

TEST_EVENT = "webhook.test"
"""The type of an event that a user sends to check an endpoint."""

_Description = Annotated[
    str,
    StringConstraints(max_length=200, pattern=NO_NUL_PATTERN),
    Field(description="A description of your own.", examples=["shop backend"]),
]
_EventTypes = Annotated[
    frozenset[EventType] | None,
    Field(
        min_length=1,
        description="The types of events that the endpoint gets. Null: all, those of later releases among them.",
        examples=[["job.completed", "job.failed"]],
    ),
]
_Enabled = Annotated[bool, Field(strict=True, description="Whether the endpoint gets events.")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CreateWebhookEndpointRequest(_Request):
    """The body of ``POST /v1/webhook-endpoints``."""

    url: Annotated[WebhookUrl, Field(description="URL that receives the events of all your jobs.")]
    event_types: _EventTypes = None
    description: _Description = ""
    enabled: _Enabled = True


class UpdateWebhookEndpointRequest(_Request):
    """The body of ``PATCH /v1/webhook-endpoints/{endpoint_id}``. Fields that are absent stay as they are."""

    url: Annotated[
        WebhookUrl | None, Field(description="New URL. Events that exist already go to the earlier one.")
    ] = None
    event_types: _EventTypes = None
    description: _Description | None = None
    enabled: _Enabled | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _check_change(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _change_errors)

    @property
    def changes_event_types(self) -> bool:
        """Whether the request has ``event_types``, which may be null."""
        return "event_types" in self.model_fields_set


def _change_errors(request: object) -> Iterator[CrossFieldError]:
    fields = fields_of(request)
    given = request.model_fields_set if isinstance(request, BaseModel) else fields
    if fields is not None and not given:
        yield (), "needs at least one of `url`, `event_types`, `description` and `enabled`"


class WebhookEndpoint(ResponseModel):
    """A webhook endpoint."""

    endpoint_id: UUID
    url: str
    event_types: Annotated[
        list[Open[EventType]] | None, Field(description="The types of events that it gets. Null: all.")
    ]
    description: str
    enabled: bool
    created_at: datetime


class WebhookEndpointList(ResponseModel):
    """The response to ``GET /v1/webhook-endpoints``, oldest first."""

    data: list[WebhookEndpoint]


class SentTestEvent(ResponseModel):
    """The response to ``POST /v1/webhook-endpoints/{endpoint_id}/test``."""

    event_id: Annotated[str, Field(description="The `webhook-id` of the event, and the `event_id` of its deliveries.")]
    endpoint_id: UUID
    type: Annotated[str, Field(examples=[TEST_EVENT])] = TEST_EVENT
    status: Annotated[str, Field(examples=["pending"])] = "pending"


class TestEventData(ResponseModel):
    """What a test event is about."""

    __test__ = False  # pytest: no test class

    endpoint_id: UUID


class TestEvent(ResponseModel):
    """The body of a test event."""

    __test__ = False

    type: Literal["webhook.test"]
    timestamp: Annotated[datetime, Field(description="When the event was created.")]
    data: TestEventData


class WebhookSecret(ResponseModel):
    """The response to ``POST /v1/webhook-secret``."""

    secret: Annotated[
        str, Field(description="The secret, which signs all webhooks. It is shown only once.", repr=False)
    ]
