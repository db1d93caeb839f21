"""The routes in the OpenAPI document, with a valid request for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
from tests.support.published import OPENAPI

JOB: dict[str, Any] = {
    "source": {"content_length": 9},
    "pipeline": [{"id": "small", "action": "resize", "width": 9, "format": "webp"}],
}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/jobs": JOB,
    "/v1/keys": {"name": "n", "scopes": ["jobs:read"]},
    "/v1/presets": {"name": "thumb", "pipeline": JOB["pipeline"]},
    "/v1/assets": {"name": "logo", "source": {"content_length": 9}},
    "/v1/batches": {"pipeline": JOB["pipeline"]},
    "/v1/batches/{batch_id}/jobs": {"sources": [{"source": {"job": "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55"}}]},
    "/v1/webhook-endpoints": {"url": "https://client.example/hooks"},
    "/v1/webhook-endpoints/{endpoint_id}": {"description": "changed"},
}
"""A valid body for each POST and PATCH that takes one."""


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    operation: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def scopes(self) -> list[str]:
        return [scope for scheme in self.operation.get("security", []) for scope in scheme["ApiKey"]]

    def send(self, client: httpx.Client, ids: dict[str, str] | None = None, **options: Any) -> httpx.Response:  # noqa: ANN401
        """Send a valid request. A missing ID is replaced by one that does not exist."""
        names = [row["name"] for row in self.operation.get("parameters", []) if row["in"] == "path"]
        path = self.path.format(**{name: (ids or {}).get(name, str(uuid4())) for name in names})
        body = BODIES[self.path] if "requestBody" in self.operation else None
        with client.stream(self.method, path, json=body, **options) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                answer.read()
                return answer
            beginning = b""  # the stream has no end
            for chunk in answer.iter_raw():
                beginning += chunk
                if b"\n\nid: " in beginning or b"\n\n: " in beginning:
                    break
        return httpx.Response(answer.status_code, headers=answer.headers, content=beginning)


def routes() -> Iterator[Route]:
    """All authenticated routes. Read from the document, so that new routes are included."""
    for path, methods in OPENAPI["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/v1/"):
                yield Route(method.upper(), path, operation)


ROUTES = list(routes())
POSTS = [route for route in ROUTES if route.method == "POST"]
OF_ONE = [route for route in ROUTES if "{" in route.path]
