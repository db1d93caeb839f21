"""Contender: PixelFlow's transform alone, without worker, storage or confinement, in one process."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from bench.cases import PIPELINES
from bench.contenders.loop import serve
from pixelflow.imaging.engine import Transform
from pixelflow.imaging.formats.registry import output_name
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.protocol import TransformLimits, TransformRequest
from pixelflow.imaging.runtime import cache_fonts, prepare
from pixelflow.imaging.step import Step

_LIMITS = TransformLimits(max_source_pixels=10**8, max_output_pixels=10**8, max_output_bytes=10**9)


@cache
def _steps(case: str) -> list[Step]:
    adapter: TypeAdapter[list[Step]] = TypeAdapter(Pipeline)
    return adapter.validate_python(PIPELINES[case])


def make(case: str, source: Path, folder: Path) -> None:
    """Make the outputs of the case's pipeline."""
    request = TransformRequest(request_id="0" * 16, pipeline=_steps(case), limits=_LIMITS)
    descriptor = os.open(source, os.O_RDONLY)
    with tempfile.TemporaryFile(dir=folder) as outputs:
        rendered = Transform(request, descriptor).run(outputs.fileno())
        for each in rendered.outputs:
            name = output_name(each.step_id, each.format)
            (folder / name).write_bytes(os.pread(outputs.fileno(), each.bytes, each.offset))
    os.close(descriptor)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as fonts:
        prepare(Path(fonts))
        cache_fonts(Path(fonts))
        serve(make)
