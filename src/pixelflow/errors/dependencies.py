"""Errors of what PixelFlow depends on: backing services, which are unavailable, and webhook receivers."""

from __future__ import annotations

from pixelflow.errors.pixelflow_error import Fault, PixelflowError

# ── Webhook receivers ────────────────────────────────────────────────────────────────────────────


class TargetError(PixelflowError):
    """A request to a webhook receiver failed. The message must not contain resolved addresses."""


class TargetRefusedError(TargetError):
    code = "target_refused"
    title = "Requests to this address are not allowed"


class TargetUnreachableError(TargetError):
    code = "target_unreachable"
    title = "The server can't be reached or sent an invalid response"
    retryable = True


class TargetTimeoutError(TargetUnreachableError):
    code = "target_timeout"
    title = "The server did not respond in time"


# ── Backing services ─────────────────────────────────────────────────────────────────────────────


class DependencyError(PixelflowError):
    """A backing service rejected a request or did not respond."""

    code = "dependency_unavailable"
    title = "A backing service is unavailable"
    retryable = True
    fault = Fault.SERVICE


class StoreUnavailableError(DependencyError):
    code = "store_unavailable"


class StoreReadOnlyError(StoreUnavailableError):
    """The server is a standby, or its operator has forbidden changes."""

    code = "store_read_only"
    title = "The database accepts no changes"


class ResourceBusyError(StoreUnavailableError):
    """A statement waited too long for a lock. It had no effect."""

    code = "resource_busy"
    title = "The resource is in use"


class ObjectsUnavailableError(DependencyError):
    code = "objects_unavailable"


class DestinationUnavailableError(DependencyError):
    """A bucket that the operator named does not answer. Only workers raise it; jobs with other buckets continue."""

    code = "destination_unavailable"
    title = "The destination's bucket is not available"


class SourceBucketUnavailableError(DependencyError):
    """As :class:`DestinationUnavailableError`, for the bucket of a source."""

    code = "source_bucket_unavailable"
    title = "The source's bucket is not available"


class QueueUnavailableError(DependencyError):
    code = "queue_unavailable"


class IssuerUnavailableError(DependencyError):
    code = "issuer_unavailable"


class LimiterUnavailableError(DependencyError):
    code = "limiter_unavailable"


class DeadlineExceededError(DependencyError):
    """A request took longer than the API allows."""

    code = "deadline_exceeded"
    title = "The request took too long"


class WorkerUnavailableError(DependencyError):
    """The worker's machine lacks disk space, memory, descriptors or processes. Only workers raise it."""

    code = "worker_unavailable"
    title = "The worker lacks resources"
