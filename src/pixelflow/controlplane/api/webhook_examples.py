"""Examples of requests and responses of webhooks for the OpenAPI document, which alone reads them."""

from __future__ import annotations

from typing import Any

_JOB_ID = "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55"
_EVENT_ID = "msg_5f0c8b1d6a7e4f3c9d2b1a0e8f7c6d5b"
DELIVERIES: dict[str, Any] = {
    "data": [
        {
            "delivery_id": "0198f2c4-7f1a-7c02-a1d4-5e6f7a8b9c0d",
            "event_id": _EVENT_ID,
            "endpoint_id": None,
            "type": "job.completed",
            "attempt": 1,
            "outcome": "delivered",
            "status_code": 204,
            "error": None,
            "latency_ms": 41,
            "response_excerpt": "",
            "started_at": "2026-11-23T14:01:12.730Z",
            "next_attempt_at": None,
        }
    ]
}
REPLAYED: dict[str, Any] = {
    "event_id": _EVENT_ID,
    "job_id": _JOB_ID,
    "batch_id": None,
    "type": "job.completed",
    "status": "pending",
    "next_attempt_at": "2026-11-23T14:05:00Z",
}
SECRET: dict[str, Any] = {"secret": "whsec_…"}
_ENDPOINT_ID = "0198f2c4-6b2d-7a10-8c4e-3d5f7a9b1c2e"
CREATE_ENDPOINT: dict[str, Any] = {
    "failures": {
        "summary": "All jobs that fail or are canceled",
        "value": {
            "url": "https://client.example/hooks/failed",
            "event_types": ["job.canceled", "job.failed"],
            "description": "alerts",
        },
    }
}
UPDATE_ENDPOINT: dict[str, Any] = {"disable": {"summary": "Send nothing to it for now", "value": {"enabled": False}}}
ENDPOINT: dict[str, Any] = {
    "endpoint_id": _ENDPOINT_ID,
    "url": "https://client.example/hooks/failed",
    "event_types": ["job.canceled", "job.failed"],
    "description": "alerts",
    "enabled": True,
    "created_at": "2026-11-23T14:00:00Z",
}
SENT_TEST: dict[str, Any] = {
    "event_id": _EVENT_ID,
    "endpoint_id": _ENDPOINT_ID,
    "type": "webhook.test",
    "status": "pending",
}
ENDPOINT_DELIVERIES: dict[str, Any] = {
    "data": [{**DELIVERIES["data"][0], "endpoint_id": _ENDPOINT_ID, "type": "webhook.test"}]
}
ROTATED: dict[str, Any] = {"secret": "whsec_…", "previous_valid_until": "2026-11-24T14:01:12.604Z"}

WEBHOOK_RESPONSES: dict[str, dict[str, Any]] = {
    "list_deliveries": DELIVERIES,
    "list_batch_deliveries": {"data": [DELIVERIES["data"][0] | {"type": "batch.finished"}]},
    "replay_delivery": REPLAYED,
    "create_webhook_secret": SECRET,
    "rotate_webhook_secret": ROTATED,
    "create_webhook_endpoint": ENDPOINT,
    "list_webhook_endpoints": {"data": [ENDPOINT]},
    "get_webhook_endpoint": ENDPOINT,
    "update_webhook_endpoint": ENDPOINT,
    "test_webhook_endpoint": SENT_TEST,
    "list_endpoint_deliveries": ENDPOINT_DELIVERIES,
}
"""Responses of successful requests by route name."""
