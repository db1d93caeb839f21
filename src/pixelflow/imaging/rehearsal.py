"""Plans transforms that nobody asked for, so that a process that is forked afterwards does so at once.

Python and libvips set up a part of what they need when it is used for the first time. A forked process would do that
again, and copy each page of memory that it changes.
"""

from __future__ import annotations

import io
import os

from PIL import Image

from pixelflow.imaging.engine import Transform
from pixelflow.imaging.protocol import Planned, TransformRequest

_TIMES = 10
"""Python adapts the code of a function when it is called for the ninth time."""
_LIMIT = 1_000_000
_REQUEST = {
    "request_id": "0" * 16,
    "pipeline": [{"id": "small", "action": "resize", "width": 8, "format": "jpeg", "quality": 80}],
    "limits": {"max_source_pixels": _LIMIT, "max_output_pixels": _LIMIT, "max_output_bytes": _LIMIT},
}


def rehearse() -> None:
    """Plan to scale a small picture, up to the point where pixels would be decoded: that starts threads."""
    line = TransformRequest.model_validate(_REQUEST).model_dump_json(by_alias=True, exclude_unset=True)
    with os.fdopen(os.memfd_create("rehearsal"), "r+b") as source:
        source.write(_picture())
        source.flush()
        for _ in range(_TIMES):
            request = TransformRequest.model_validate_json(line)
            transform = Transform(request, source.fileno())
            Planned(request_id=request.request_id, memory_bytes=transform.memory.peak).model_dump_json()


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    return file.getvalue()
