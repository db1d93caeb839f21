"""Contender: PixelFlow's transform alone, without worker, storage or confinement, in one process."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

from bench.cases import PIPELINES
from bench.contenders.loop import serve
from pixelflow.imaging.engine import Transform
from pixelflow.imaging.formats.registry import output_name
from pixelflow.imaging.protocol import TransformLimits, TransformRequest
from pixelflow.imaging.runtime import cache_fonts, prepare

_LIMITS = TransformLimits(max_source_pixels=10**8, max_output_pixels=10**8, max_output_bytes=10**9)


@cache
def _request(case: str) -> TransformRequest:
    return TransformRequest.model_validate({"request_id": "0" * 16, "pipeline": PIPELINES[case], "limits": _LIMITS})


def make(case: str, source: Path, folder: Path) -> None:
    """Make the outputs of the case's pipeline. A single one is written to its own file, as other contenders do."""
    request, descriptor = _request(case), os.open(source, os.O_RDONLY)
    names = [output_name(step.id, step.format) for step in request.pipeline if step.format]
    path = folder / (names[0] if len(names) == 1 else "outputs")
    output = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    rendered = Transform(request, descriptor).run(output)
    for name, each in zip(names, rendered.outputs, strict=True) if len(names) > 1 else ():
        (folder / name).write_bytes(os.pread(output, each.bytes, each.offset))
    os.close(output)
    os.close(descriptor)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as fonts:
        prepare(Path(fonts))
        cache_fonts(Path(fonts))
        serve(make)
