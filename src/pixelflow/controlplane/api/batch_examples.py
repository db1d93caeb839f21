"""Examples of requests and responses of batches for the OpenAPI document, which alone reads them."""

from __future__ import annotations

from typing import Any

_JOB_ID = "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55"
CREATE_BATCH: dict[str, Any] = {
    "one-preset": {
        "summary": "Two earlier photos in a new size",
        "value": {
            "name": "New card size",
            "preset": "card@2",
            "metadata": {"shop": "main"},
            "close": True,
            "sources": [
                {"source": {"job": _JOB_ID}, "metadata": {"sku": "A-17"}},
                {"source": {"job": "0198f2c4-6d2f-7e4b-8c71-3a2e5d9f8b66"}, "metadata": {"sku": "A-18"}},
            ],
        },
    }
}
ADD_JOBS: dict[str, Any] = {
    "rerun": {
        "summary": "Process the sources of an earlier version's jobs again",
        "value": {"rerun": {"preset": "card@1", "cursor": None}},
    },
    "sources": {
        "summary": "One more photo",
        "value": {"sources": [{"source": {"job": _JOB_ID, "output": "hero"}}]},
    },
}
_BATCH_ID = "0198f2c4-9a3b-7c5d-8e6f-7a8b9c0d1e2f"
_BATCH_SUMMARY: dict[str, Any] = {
    "batch_id": _BATCH_ID,
    "name": "New card size",
    "preset": "card@2",
    "created_at": "2026-11-23T14:00:00Z",
    "canceled_at": None,
    "closed_at": "2026-11-23T14:00:02Z",
    "finished_at": None,
}
BATCH: dict[str, Any] = _BATCH_SUMMARY | {
    "jobs": {"created": 0, "queued": 1, "processing": 0, "succeeded": 1, "failed": 0, "canceled": 0},
    "total": 2,
    "percent": 50,
}
FINISHED_BATCH: dict[str, Any] = BATCH | {
    "finished_at": "2026-11-23T14:00:09Z",
    "jobs": {"created": 0, "queued": 0, "processing": 0, "succeeded": 2, "failed": 0, "canceled": 0},
    "percent": 100,
}
CREATED_BATCH: dict[str, Any] = BATCH | {"refused": []}
ADDED_JOBS: dict[str, Any] = {
    "batch_id": _BATCH_ID,
    "accepted": 99,
    "refused": [
        {
            "index": None,
            "job_id": _JOB_ID,
            "code": "source_missing",
            "detail": f"The source of the job {_JOB_ID} has expired and is deleted; upload it again",
        }
    ],
    "next_cursor": "MjAyNi0xMS0yMFQxMjowMDowMCswMDowMCAwMTk4ZjJjNA==",
}
BATCHES: dict[str, Any] = {"data": [_BATCH_SUMMARY], "next_cursor": None}
BATCH_RESPONSES: dict[str, Any] = {
    "create_batch": CREATED_BATCH,
    "add_jobs": ADDED_JOBS,
    "get_batch": BATCH,
    "list_batches": BATCHES,
    "close_batch": BATCH,
    "cancel_batch": BATCH,
}
"""Responses of successful requests by route name."""
