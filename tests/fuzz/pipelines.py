"""Pipelines for fuzzed files: every operation's examples, in an order that the file itself decides."""

from __future__ import annotations

import hashlib
from typing import Any

from pixelflow.imaging.formats.registry import OUTPUT_FORMATS
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.protocol import TransformLimits, TransformRequest

LIMITS = TransformLimits(
    max_source_pixels=1_000_000,
    max_output_pixels=4_000_000,
    max_output_bytes=20_000_000,
    max_job_output_pixels=8_000_000,
    max_jpeg_scans=50,
)
"""Small, so that a run takes milliseconds."""
_EXAMPLES = [dict(example) for operation in OPERATIONS.values() for example in operation.examples]
_FORMATS = [*OUTPUT_FORMATS]


def pipeline_for(data: bytes) -> list[dict[str, Any]]:
    """Return steps that differ from file to file and are the same for the same file."""
    digest = hashlib.sha256(data).digest()
    first, second = (_EXAMPLES[digest[place] % len(_EXAMPLES)] for place in (0, 1))
    return [
        {"id": "other", "action": "resize", "width": 20, "output": False},
        {"id": "first", **first, "format": _FORMATS[digest[2] % len(_FORMATS)]},
        {**second, "id": "second", "from": "first"},
    ]


def request_for(data: bytes) -> TransformRequest:
    """Return the request that a worker would send to a child."""
    raw = {"request_id": "0" * 16, "pipeline": pipeline_for(data), "limits": LIMITS}
    return TransformRequest.model_validate(raw)
