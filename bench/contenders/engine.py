"""Contender: PixelFlow's transform alone, without worker, storage or confinement, in one process."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from bench.cases import PIPELINES
from bench.contenders.loop import serve
from pixelflow.contracts.pipeline import Pipeline, Step
from pixelflow.dataplane import imaging
from pixelflow.dataplane.protocol import TransformLimits, TransformRequest

_LIMITS = TransformLimits(max_source_pixels=10**8, max_output_pixels=10**8, max_output_bytes=10**9)


@cache
def _steps(case: str) -> list[Step]:
    adapter: TypeAdapter[list[Step]] = TypeAdapter(Pipeline)
    return adapter.validate_python(PIPELINES[case])


def make(case: str, source: Path, folder: Path) -> None:
    """Make the outputs of the case's pipeline."""
    imaging.transform(TransformRequest(source=source, directory=folder, pipeline=_steps(case), limits=_LIMITS))


if __name__ == "__main__":
    imaging.prepare()
    serve(make)
