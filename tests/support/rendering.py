"""Runs a transform in the test's own process, and writes its outputs into a folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyvips

from pixelflow.imaging.engine import Transform
from pixelflow.imaging.formats.registry import output_name
from pixelflow.imaging.protocol import Rendered, TransformLimits, TransformRequest
from pixelflow.imaging.runtime import cache_fonts, prepare


def set_up_libvips(font_cache: Path) -> None:
    """Prepare this process as a child is prepared, but let tests open their outputs by path."""
    prepare(font_cache)
    cache_fonts(font_cache)
    for name in ("Jpeg", "Png", "Webp", "Heif"):
        pyvips.operation_block_set(f"VipsForeignLoad{name}File", False)


def render(
    source: Path, steps: Sequence[dict[str, Any]], limits: TransformLimits, folder: Path, **options: object
) -> Rendered:
    """Write the outputs of the steps as ``output_name(step_id, format)``; ``options`` are those of the source."""
    raw = {"request_id": "0" * 16, "pipeline": list(steps), "limits": limits, "source": options}
    request = TransformRequest.model_validate(raw)
    descriptor = os.open(source, os.O_RDONLY)
    try:
        with tempfile.TemporaryFile() as outputs:
            rendered = Transform(request, descriptor).run(outputs.fileno())
            for each in rendered.outputs:
                content = os.pread(outputs.fileno(), each.bytes, each.offset)
                (folder / output_name(each.step_id, each.format)).write_bytes(content)
            return rendered
    finally:
        os.close(descriptor)
