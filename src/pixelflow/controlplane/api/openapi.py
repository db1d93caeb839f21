"""The OpenAPI document that the application tells of itself: FastAPI's, put right where FastAPI can't know.

It must never describe what the application does not do.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from pixelflow.controlplane.api.examples import RESPONSES
from pixelflow.controlplane.api.problems import MEDIA_TYPE

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_NEVER_SENT = ("HTTPValidationError", "ValidationError")
"""FastAPI's own errors; every error of ours is a problem."""

_LIMITS = {
    "RateLimit-Policy": {
        "description": "What holds: the class of the route, `q` requests within `w` seconds "
        "(draft-ietf-httpapi-ratelimit-headers).",
        "schema": {"type": "string"},
        "example": '"create";q=60;w=60',
    },
    "RateLimit": {
        "description": "How you stand: `r` requests are left, and there is one more in `t` seconds. Missing where "
        "requests are not counted.",
        "schema": {"type": "string"},
        "example": '"create";r=59;t=1',
    },
}
_RETRY_AFTER = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}, "example": 1}


def install(app: FastAPI) -> None:
    """Have the application tell its document put right."""
    made_by_fastapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _put_right(made_by_fastapi())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def _put_right(document: dict[str, Any]) -> dict[str, Any]:
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"] = {
                status: _with_media_type(response)
                for status, response in operation["responses"].items()
                if not _is_never_sent(response)
            }
            _add_example(operation)
            if "security" in operation:
                _add_limits(operation)
    for name in _NEVER_SENT:
        document["components"]["schemas"].pop(name, None)
    return document


def _add_example(operation: dict[str, Any]) -> None:
    """Show a success; FastAPI's own way would take every null out of it."""
    for status, response in operation["responses"].items():
        if status.startswith("2") and "content" in response:
            response["content"]["application/json"]["example"] = RESPONSES[operation["operationId"]]


def _add_limits(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        response["headers"] = {**response.get("headers", {}), **_LIMITS}
        if status == "429":
            response["headers"]["Retry-After"] = _RETRY_AFTER


def _is_never_sent(response: dict[str, Any]) -> bool:
    schemas = [body.get("schema", {}).get("$ref", "") for body in response.get("content", {}).values()]
    return any(schema.endswith("/HTTPValidationError") for schema in schemas)


def _with_media_type(response: dict[str, Any]) -> dict[str, Any]:
    """FastAPI describes every body as the route's own media type; a problem has one of its own."""
    content = response.get("content", {})
    if content.get("application/json", {}).get("schema") != _PROBLEM:
        return response
    problem = {"schema": _PROBLEM, **content.get(MEDIA_TYPE, {})}
    return {**response, "content": {MEDIA_TYPE: problem}}
