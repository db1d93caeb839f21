"""The codes of webhooks, and of services that are not available."""

from __future__ import annotations

from collections.abc import Mapping

from pixelflow.contracts.error_guide.guide import BACKING, BY_ITSELF, LATER, Guide

_NAMED_BUCKET = (
    "Nothing in the job: it waits. The operator runs `pixelflow doctor`, which asks each bucket, and checks that "
    "workers reach its `endpoint_url` in `PIXELFLOW_BUCKETS`. To go on without it, cancel the job and create one with "
    "another bucket."
)

SERVICES: Mapping[str, Guide] = {
    "target_refused": Guide(
        "The receiver's host has an address that webhooks may not be sent to, such as a private one.",
        "Use a public address. The operator can allow networks.",
        "No: the event is not sent again. Replay it after the change.",
    ),
    "target_unreachable": Guide(
        "The receiver can't be reached, or its response is not valid HTTP.",
        "Check its DNS name, port and certificate.",
        "PixelFlow tries again by itself. Later, replay the delivery.",
    ),
    "target_timeout": Guide(
        "The receiver did not respond in time.",
        "Answer 2xx first, and do the work afterwards.",
        "PixelFlow tries again by itself. Later, replay the delivery.",
    ),
    "dependency_unavailable": Guide("A backing service is not available.", BACKING, LATER),
    "store_unavailable": Guide("Postgres is not available.", BACKING, LATER),
    "store_read_only": Guide(
        "Postgres accepts no changes: it is a standby, or its operator has forbidden them.", BACKING, LATER
    ),
    "resource_busy": Guide(
        "Another request holds the same job, key or asset. This one had no effect.",
        "Send one request at a time for one job.",
        LATER,
    ),
    "objects_unavailable": Guide("Object storage is not available.", BACKING, LATER),
    "queue_unavailable": Guide("Redis is not available.", BACKING, LATER),
    "issuer_unavailable": Guide(
        "The keys of the token issuer can't be fetched, so tokens can't be verified. API keys work.", BACKING, LATER
    ),
    "limiter_unavailable": Guide("Rate limits can't be counted, since Redis is not available.", BACKING, LATER),
    "destination_unavailable": Guide(
        "The server of the bucket of the `destination` does not answer or fails, or the service has no credentials for "
        "it. The outputs are not stored yet.",
        _NAMED_BUCKET,
        BY_ITSELF,
    ),
    "source_bucket_unavailable": Guide(
        "The server of the bucket of the `source` does not answer or fails, or the service has no credentials for it.",
        _NAMED_BUCKET,
        BY_ITSELF,
    ),
    "worker_unavailable": Guide(
        "A worker's machine lacks disk space, memory, descriptors or processes.",
        "The operator frees them; the worker's log says which.",
        BY_ITSELF,
    ),
}
