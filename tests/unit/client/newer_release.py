"""Answers of a made-up newer release: the documented examples with fields and values that this one does not know."""

from __future__ import annotations

from typing import Any

from pixelflow.controlplane.api.examples import RESPONSES

ADDED = {"added_later": "https://s3.example/a?X-Amz-Signature=5ecre7"}
"""A field of every object; its value is a secret."""
UNKNOWN: dict[str, object] = {
    "action": "posterize",
    "code": "source_encrypted",
    "error": {"code": "source_encrypted", "message": "The source is encrypted", "step_id": "small", **ADDED},
    "finished_at": None,
    "format": "jxl",
    "outcome": "deferred",
    "presigned_url_state": "later",
    "priority": "urgent",
    "queue": "videos",
    "scopes": ["jobs:read", "albums:read"],
    "status": "paused",
    "type": "telepathy",
    "waiting_for": ["contract/9"],
}
"""The new values by field."""
STEP = {"id": "small", "action": "posterize", "levels": [2, {"red": 4}], "format": "jxl", "quality": "auto"}
REPORT = {"step_id": "report", "action": "describe", "format": "json", "width": None, "height": None}
"""An output that is not an image."""


def answer(name: str) -> Any:  # noqa: ANN401 - JSON
    """The response of the newer release to the operation ``name``."""
    return newer(RESPONSES[name])


def newer(document: Any, field: str = "") -> Any:  # noqa: ANN401 - JSON
    """``document`` with an unknown field in each object and an unknown value in each field that has new ones."""
    if isinstance(document, list):
        items = [newer(item) for item in document]
        more = [item | REPORT for item in items[:1]] if field == "outputs" else []
        return [STEP, *items] if field == "pipeline" else items + more
    if not isinstance(document, dict) or field in {"headers", "metadata", "options"}:
        return document
    changed = {name: UNKNOWN[name] if name in UNKNOWN else newer(value, name) for name, value in document.items()}
    optional = ("priority", "waiting_for") if "pipeline" in document else ()
    return {**changed, **{name: UNKNOWN[name] for name in optional}, **ADDED}
