"""Every folder of an operation or a format is complete, and every operation works on every kind of picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from pydantic import TypeAdapter
from tests.support import operation_pages
from tests.unit.imaging.pictures import Run

from pixelflow.contracts.capabilities import CONTRACT
from pixelflow.imaging.formats.registry import FORMATS, INPUT_FORMATS, OUTPUT_FORMATS
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.imaging.source import open_source

each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


@each_operation
def test_the_folder_of_an_operation_is_complete(operation: Operation[Any]) -> None:
    folder = files(operation.package)
    assert callable(import_module(f"{operation.package}.pixels").apply)
    assert folder.joinpath("page.md").read_text(encoding="utf-8").strip()
    assert folder.joinpath(f"test_{operation.action}.py").is_file()
    assert operation.summary
    assert 1 <= operation.since <= CONTRACT
    assert operation.package.rpartition(".")[2] == operation.action


@each_operation
def test_every_field_has_a_description(operation: Operation[Any]) -> None:
    for name, field in operation.model.model_fields.items():
        assert field.description or name == "action" or isinstance(field.annotation, type), name


@each_operation
def test_the_page_of_an_operation_is_what_its_folder_says(operation: Operation[Any]) -> None:
    page = operation_pages.FOLDER / f"{operation.action}.md"
    assert page.read_text(encoding="utf-8") == operation_pages.text(operation), "run `make schemas`"
    assert page.with_suffix(".webp").exists(), "run `make schemas`"


@pytest.mark.parametrize("name", FORMATS)
def test_the_folder_of_a_format_is_complete(name: str) -> None:
    package, format_ = f"pixelflow.imaging.formats.{name}", FORMATS[name]
    assert format_.reads or format_.writes
    assert not format_.reads or callable(import_module(f"{package}.load").load)
    assert not format_.writes or callable(import_module(f"{package}.save").save)
    assert not format_.writes or format_.read_size is not None
    assert format_.default_output is None or FORMATS[format_.default_output].writes
    assert format_.default_output is not None or format_.writes
    assert "/" in format_.media_type
    assert format_.extension.isalnum()
    assert set(FORMATS) == {*INPUT_FORMATS, *OUTPUT_FORMATS}


# ── Every operation on every kind of picture ─────────────────────────────────────────────────────


def _colors(width: int = 48, height: int = 36) -> np.ndarray[Any, np.dtype[np.uint8]]:
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([x * 255 // width, y * 255 // height, (x + y) * 2 % 256]).astype("u1")


def _orientation(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_colors()).save(path, "JPEG", exif=exif)


def _animation(path: Path) -> None:
    frames = [Image.fromarray(np.roll(_colors(), 9 * place, axis=1)) for place in range(3)]
    frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:], duration=[40, 50, 60], loop=2)


def _alpha(path: Path) -> None:
    alpha = np.tile(np.linspace(0, 255, 48).astype("u1"), (36, 1))
    Image.fromarray(np.dstack([_colors(), alpha])).save(path, "PNG")


def _sixteen_bit(path: Path) -> None:
    values = _colors().astype("u2") * 257
    pyvips.Image.new_from_array(values, interpretation="rgb16").pngsave(str(path), bitdepth=16)


PICTURES: dict[str, Callable[[Path], None]] = {
    "rgb": lambda path: Image.fromarray(_colors()).save(path, "PNG"),
    "alpha": _alpha,
    "cmyk": lambda path: Image.fromarray(_colors()).convert("CMYK").save(path, "JPEG"),
    "16 bit": _sixteen_bit,
    "grey": lambda path: Image.fromarray(_colors()[..., 0]).save(path, "PNG"),
    "grey with alpha": lambda path: Image.fromarray(_colors()).convert("LA").save(path, "PNG"),
    "palette": lambda path: Image.fromarray(_colors()).quantize(16).save(path, "PNG"),
    "orientation 6": _orientation,
    "one pixel": lambda path: Image.fromarray(_colors()[:1, :1]).save(path, "PNG"),
    "one column": lambda path: Image.fromarray(_colors()[:, :1]).save(path, "JPEG"),
    "animated": _animation,
    "progressive": lambda path: Image.fromarray(_colors(160, 120)).save(path, "JPEG", progressive=True),
}
"""Kind of picture → writes one to a path."""

_OTHER = {"id": "other", "action": "resize", "width": 20, "output": False}
"""A step that examples may read."""


@pytest.mark.parametrize("kind", PICTURES)
@each_operation
def test_an_operation_works_on_every_kind_of_picture(
    run: Run, tmp_path: Path, operation: Operation[Any], kind: str
) -> None:
    """Each example on the source, and once more on its own result."""
    source = tmp_path / "source"
    PICTURES[kind](source)
    wanted = "webp" if kind == "animated" else "png"
    steps = [_OTHER]
    for number, example in enumerate(operation.examples):
        steps.append({"id": f"{number}", **example, "format": wanted})
        steps.append({**example, "id": f"{number}-again", "from": f"{number}"})
    outputs = {output.step_id: output for output in run(source, *steps).outputs}
    size = _size_of(source)
    for number, example in enumerate(operation.examples):
        output, path = outputs[f"{number}"], tmp_path / f"{number}.{wanted}"
        result = pyvips.Image.new_from_file(str(path), **({"n": -1} if wanted == "webp" else {}))
        frame = result.get("page-height") if result.get_typeof("page-height") else result.height
        assert (output.width, output.height) == (result.width, frame)
        assert result.height == frame * (3 if kind == "animated" else 1)
        assert result.format == "uchar"
        if kind == "animated":
            assert (result.get("delay"), result.get("loop")) == ([40, 50, 60], 2)
        _, step = TypeAdapter(Pipeline).validate_python([_OTHER, {"id": "result", **example}])
        declared = operation.sizes(size, step).result
        assert output.width <= declared.width, "the declared size is the largest that the result has"
        assert output.height <= declared.height


def _size_of(source: Path) -> Size:
    limits = TransformLimits(max_source_pixels=10**6, max_output_pixels=10**6, max_output_bytes=10**6)
    descriptor = os.open(source, os.O_RDONLY)
    try:
        return open_source(descriptor, limits).size
    finally:
        os.close(descriptor)
