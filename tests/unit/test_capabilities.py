"""What a job requires of a worker, and what a worker is capable of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from pixelflow.contracts.capabilities import CONTRACT, required_capabilities, worker_capabilities
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.step import Step

STEPS: list[Step] = TypeAdapter(Pipeline).validate_python(
    [
        {"id": "small", "action": "resize", "width": 10, "format": "avif"},
        {"id": "marked", "action": "watermark", "watermark": {"text": "x"}},
    ]
)


def test_a_worker_of_this_release_is_capable_of_every_pipeline_of_this_release() -> None:
    assert set(required_capabilities(STEPS)) <= set(worker_capabilities())


def test_the_newest_contract_among_the_steps_is_required() -> None:
    assert required_capabilities(STEPS) == ("contract/1",)
    newer = {**OPERATIONS, "watermark": replace(OPERATIONS["watermark"], since=3)}
    assert required_capabilities(STEPS, operations=newer) == ("contract/3",)
    newer_format = {**OUTPUT_FORMATS, "avif": replace(OUTPUT_FORMATS["avif"], since=2)}
    assert required_capabilities(STEPS, formats=newer_format) == ("contract/2",)


def test_a_newer_field_is_required_only_where_it_is_used() -> None:
    plain = {"id": "a", "action": "resize", "width": 10, "format": "jpeg"}
    steps = TypeAdapter(Pipeline).validate_python([{**plain, "encoder": {}}])
    assert required_capabilities(steps) == ("contract/2",)
    assert required_capabilities(TypeAdapter(Pipeline).validate_python([{**plain, "encoder": None}])) == ("contract/1",)


def test_optional_capabilities_are_required_by_name_and_once() -> None:
    operations = {**OPERATIONS, "resize": replace(OPERATIONS["resize"], requires=lambda _: ("fast", "heif"))}
    formats = {**OUTPUT_FORMATS, "avif": replace(OUTPUT_FORMATS["avif"], extra="heif")}
    found = required_capabilities(STEPS, operations=operations, formats=formats)
    assert found == ("contract/1", "fast", "heif")


def test_a_worker_supports_all_contracts_and_its_extras() -> None:
    assert worker_capabilities(["jxl", "heic"]) == (
        *(f"contract/{number}" for number in range(1, CONTRACT + 1)),
        "heic",
        "jxl",
    )


@pytest.mark.parametrize(
    ("mark", "contract"),
    [({"text": "x", "opacity": 0.5}, 1), ({"text": "x", "box": {}}, 2), ({"image": {"step": "source"}}, 2)],
)
def test_newer_fields_of_an_object_require_a_newer_worker(mark: dict[str, object], contract: int) -> None:
    steps = TypeAdapter(Pipeline).validate_python([{"id": "a", "action": "watermark", "watermark": mark}])
    assert required_capabilities(steps) == (f"contract/{contract}",)
