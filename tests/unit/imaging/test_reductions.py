"""Operations that work at any scale: the result of a reduced source is that of the whole source, scaled down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from pydantic import TypeAdapter
from tests.golden.pictures import PHOTO
from tests.unit.imaging.pictures import Run

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.gravity import Interest
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.plan import plan

SIZE = Size(1603, 1205)
"""Not a multiple of a reduction: the reduced picture ends within a pixel."""


def _passes_on(operation: Operation[Any], example: Mapping[str, Any]) -> bool:
    """Whether a source may be reduced if the result is. What is chosen by content may differ."""
    step = operation.model.model_validate({"id": "a", **example})
    by_content = example.get("gravity") in set(Interest)
    return operation.reduction(SIZE, step, 16.0) > operation.reduction(SIZE, step, 1.0) and not by_content


EXAMPLES = [
    pytest.param(dict(example), id=f"{action}-{number}")
    for action, operation in OPERATIONS.items()
    for number, example in enumerate(operation.examples)
    if _passes_on(operation, example)
]


def steps_of(example: dict[str, Any], *, reduced: bool) -> list[dict[str, Any]]:
    """The example, then a resize. An output in full size prevents a reduction of the source."""
    other = {"id": "other", "action": "resize", "width": 100, "output": False}
    full = {**example, "id": "full", "format": "jpeg", "output": not reduced}
    return [other, full, {"id": "small", "from": "full", "action": "resize", "width": 100, "format": "png"}]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_source_is_reduced_as_far_as_the_operation_allows(example: dict[str, Any]) -> None:
    pipeline = TypeAdapter(Pipeline).validate_python(steps_of(example, reduced=True))
    found, (_, step, _) = plan(pipeline, SIZE, "jpeg"), pipeline
    allowed = max(1.0, OPERATIONS[step.action].reduction(SIZE, step, found.sizes["full"].result.width / 100))
    assert found.shrink * found.box <= allowed
    assert found.shrink * found.box > 1 or allowed < 4


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    pyvips.Image.thumbnail(str(PHOTO), SIZE.width, height=SIZE.height, crop="centre", size="both").jpegsave(str(path))
    return path


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_reduced_source_makes_the_same_result(run: Run, photo: Path, tmp_path: Path, example: dict[str, Any]) -> None:
    """A shift of all by half a pixel would differ by about 5 levels."""
    run(photo, *steps_of(example, reduced=True))
    made = _shown(tmp_path / "small.png")
    run(photo, *steps_of(example, reduced=False))
    expected = _shown(tmp_path / "small.png")
    assert made.shape == expected.shape
    assert np.abs(made - expected).mean() < 3.5


def _shown(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What is seen over gray."""
    image = pyvips.Image.new_from_file(str(path))
    image = image.flatten(background=[128]) if image.hasalpha() else image
    values: np.ndarray[Any, np.dtype[np.float64]] = image.colourspace("srgb").numpy().astype(float)
    return values
