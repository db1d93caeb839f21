"""The limits that the operator sets for requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Validation context of ``CreateJobRequest``: the limits that the operator sets.

    They are part of validation, so that their errors are reported together with all others, and before the request
    uses up its ``Idempotency-Key``.
    """

    max_source_bytes: int
    check_webhook_url: Callable[[str], object]
    """Raises ``TargetRefusedError`` for a URL that is not allowed."""
    check_source_url: Callable[[str], object]
    """As above."""
