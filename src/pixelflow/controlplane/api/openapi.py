"""Corrects the OpenAPI document that FastAPI generates, where FastAPI lacks the information.

Must never describe behavior that the application does not have.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI

from pixelflow.controlplane.api.examples import RESPONSES
from pixelflow.controlplane.api.problems import MEDIA_TYPE
from pixelflow.controlplane.api.webhook_events import add_webhooks

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_NEVER_SENT = ("HTTPValidationError", "ValidationError")
"""FastAPI's own error schemas; the application sends problems only."""
_COMPLETE = ("CreatedJob", "Job", "Source", "Upload")
"""Responses with every field, also those with a default, which the SDK needs for responses of older releases."""
_OPEN = {"JobStep"}
"""Schemas whose further fields a client reads: those of the step's action. Elsewhere, `additionalProperties: true`
repeats what JSON Schema says anyway, and TypeScript could not distinguish two responses by their fields."""

_SERVERS = [
    {"url": "/", "description": "The API that serves this document"},
    {"url": "http://127.0.0.1:8080", "description": "`pixelflow up` on this machine"},
]

_RATE_LIMIT_HEADERS = {
    "RateLimit-Policy": {
        "description": "The rate limit of this class of requests: `q` requests in `w` seconds "
        "(draft-ietf-httpapi-ratelimit-headers).",
        "schema": {"type": "string"},
        "example": '"create";q=60;w=60',
    },
    "RateLimit": {
        "description": "Your current state: `r` requests are left, and one more becomes available in `t` seconds. "
        "Absent if the request was not counted.",
        "schema": {"type": "string"},
        "example": '"create";r=59;t=1',
    },
}
_RETRY_AFTER = {
    "description": "Seconds to wait before the next request.",
    "schema": {"type": "integer", "minimum": 1},
    "example": 1,
}


def install(app: FastAPI) -> None:
    """Make the application serve the corrected document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _correct(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents


def _correct(document: dict[str, Any]) -> dict[str, Any]:
    document["servers"] = _SERVERS
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"] = {
                status: _with_media_type(response)
                for status, response in operation["responses"].items()
                if not _is_never_sent(response)
            }
            _add_example(operation)
            if "security" in operation:
                _add_rate_limit_headers(operation)
    for name in _NEVER_SENT:
        document["components"]["schemas"].pop(name, None)
    add_webhooks(document)
    _ease_generators(document["components"]["schemas"])
    return document


# ── Client generators ────────────────────────────────────────────────────────────────────────────


def _ease_generators(schemas: dict[str, Any]) -> None:
    """Describe the same documents so that generated clients are pleasant to use."""
    for name, schema in schemas.items():
        _move_defaults(schema)
        if schema.get("additionalProperties") is True and name not in _OPEN:
            del schema["additionalProperties"]
    for name in _COMPLETE:
        schemas[name]["required"] = sorted(schemas[name]["properties"])
    pipeline = schemas["CreateJobRequest"]["properties"]["pipeline"]
    schemas["Step"] = {"title": "Step", "description": "One step of a pipeline.", **pipeline["items"]}
    pipeline["items"] = {"$ref": "#/components/schemas/Step"}


def _move_defaults(schema: dict[str, Any]) -> None:
    """Move the defaults of fields to their descriptions.

    Generators take a field with `default` for one that is always there: openapi-typescript would require all 16 fields
    of a resize.
    """
    for field in schema.get("properties", {}).values():
        if "default" in field:
            value, text = field.pop("default"), field.get("description", "")
            default = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            if "Default" not in text:
                field["description"] = f"{text} Default: `{default}`.".strip()


def _add_example(operation: dict[str, Any]) -> None:
    """Add an example of the success response; FastAPI's own mechanism would remove its null values."""
    name = operation["operationId"]
    for status, response in operation["responses"].items():
        if status.startswith("2") and "content" in response:
            content = response["content"]
            body = content.get("application/json") or content["text/event-stream"]
            body["schema"].pop("type" if "$ref" in body["schema"] else "", None)  # FastAPI adds `string` to a stream's
            body["example"] = RESPONSES.get(f"{name} {status}", RESPONSES[name])


def _add_rate_limit_headers(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        response["headers"] = {**response.get("headers", {}), **_RATE_LIMIT_HEADERS}
        if status in {"429", "503"}:
            response["headers"]["Retry-After"] = _RETRY_AFTER


def _is_never_sent(response: dict[str, Any]) -> bool:
    schemas = [body.get("schema", {}).get("$ref", "") for body in response.get("content", {}).values()]
    return any(schema.endswith("/HTTPValidationError") for schema in schemas)


def _with_media_type(response: dict[str, Any]) -> dict[str, Any]:
    """Set the media type of problems; FastAPI describes every body with the media type of the route."""
    content = response.get("content", {})
    if not any(body.get("schema") == _PROBLEM for body in content.values()):
        return response
    problem = {"schema": _PROBLEM, **content.get(MEDIA_TYPE, {})}
    return {**response, "content": {MEDIA_TYPE: problem}}
