"""Describes the webhooks in the OpenAPI document. The API never receives them, so no route does."""

from __future__ import annotations

from typing import Any

from pixelflow.contracts.webhook_endpoints import TEST_EVENT, TestEvent
from pixelflow.contracts.webhooks import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, BatchEvent, Event, EventType
from pixelflow.controlplane.api.batch_examples import FINISHED_BATCH
from pixelflow.controlplane.api.examples import CANCELED, JOB
from pixelflow.controlplane.api.webhook_examples import ENDPOINT

EVENT_SCHEMA = "Event"
BATCH_SCHEMA, TEST_SCHEMA = "BatchEvent", "TestEvent"
_HEADERS = {
    ID_HEADER: ("Identifies the event: the same for every attempt and replay.", "msg_5c1f0e9a7d3b4f0e8a6c2d1b9f7e3a54"),
    TIMESTAMP_HEADER: ("When the attempt started, in seconds since 1970.", "1798891200"),
    SIGNATURE_HEADER: (
        "`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`; several, separated by spaces, after a rotation.",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
}
_SUMMARIES = {
    EventType.COMPLETED: "A job succeeded",
    EventType.FAILED: "A job failed",
    EventType.CANCELED: "A job was canceled",
}
_FAILED: dict[str, Any] = JOB | {
    "status": "failed",
    "error": {"code": "undecodable", "message": "The source can't be decoded"},
    "outputs": [],
    "usage": None,
}
_JOBS = {EventType.COMPLETED: JOB, EventType.FAILED: _FAILED, EventType.CANCELED: CANCELED}


def add_webhooks(document: dict[str, Any]) -> None:
    """Add each event, and the schema of its body, to an OpenAPI document that has the schemas of jobs and batches."""
    for name, model in ((EVENT_SCHEMA, Event), (BATCH_SCHEMA, BatchEvent)):
        schema = model.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        del schema["$defs"]  # the responses of routes have them
        document["components"]["schemas"][name] = schema
    test = TestEvent.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= test.pop("$defs") | {TEST_SCHEMA: test}
    operations = {event.value: _job_operation(event) for event in _JOBS}
    operations |= {EventType.BATCH_FINISHED.value: _batch_operation(), TEST_EVENT: _test_operation()}
    document["webhooks"] = {name: {"post": operation} for name, operation in operations.items()}


def _job_operation(event: EventType) -> dict[str, Any]:
    example = {"type": event.value, "timestamp": _JOBS[event]["finished_at"], "data": _JOBS[event]}
    receivers = "Sent to the `webhook_url` of the job, and to your webhook endpoints."
    return _operation(event.value, EVENT_SCHEMA, _SUMMARIES[event], receivers, example)


def _batch_operation() -> dict[str, Any]:
    name = EventType.BATCH_FINISHED.value
    example = {"type": name, "timestamp": FINISHED_BATCH["finished_at"], "data": FINISHED_BATCH}
    receivers = "Sent to the `webhook_url` of the batch, and to your webhook endpoints."
    return _operation(name, BATCH_SCHEMA, "All jobs of a closed batch have ended", receivers, example)


def _test_operation() -> dict[str, Any]:
    example = {
        "type": TEST_EVENT,
        "timestamp": ENDPOINT["created_at"],
        "data": {"endpoint_id": ENDPOINT["endpoint_id"]},
    }
    receiver = "Sent to a webhook endpoint when you test it."
    return _operation(TEST_EVENT, TEST_SCHEMA, "A test of an endpoint", receiver, example)


def _operation(name: str, schema: str, summary: str, receivers: str, example: dict[str, Any]) -> dict[str, Any]:
    body = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {
        "operationId": name.replace(".", "_"),
        "summary": summary,
        "description": f"{receivers} Verify the signature, and act once on each `webhook-id`.",
        "tags": ["Webhooks"],
        "security": [],
        "parameters": [_header(name, *text) for name, text in _HEADERS.items()],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "2XX": {"description": "The event was received. Respond within ten seconds."},
            "410": {"description": "Deliver this event no more."},
            "default": {"description": "Any other response is retried, with growing delays, for more than a day."},
        },
    }


def _header(name: str, description: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }
