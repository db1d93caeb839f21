"""What a job requires of a worker, and what a worker is capable of."""

from __future__ import annotations

from pydantic import TypeAdapter

from pixelflow.contracts.capabilities import CONTRACT, required_capabilities, worker_capabilities
from pixelflow.imaging.pipeline import Pipeline, Step

STEPS: list[Step] = TypeAdapter(Pipeline).validate_python(
    [
        {"id": "small", "action": "resize", "width": 10, "format": "avif"},
        {"id": "marked", "action": "watermark", "watermark": {"text": "x"}},
    ]
)


def test_a_worker_of_this_release_is_capable_of_every_pipeline_of_this_release() -> None:
    assert set(required_capabilities(STEPS)) <= set(worker_capabilities())


def test_the_newest_contract_among_the_steps_is_required() -> None:
    assert required_capabilities(STEPS, introduced={"watermark": 3, "avif": 2}) == ("contract/3",)
    assert required_capabilities(STEPS, introduced={"crop": 3}) == ("contract/1",)


def test_optional_capabilities_are_required_by_name_and_once() -> None:
    optional = {"avif": "heif", "resize": "fast", "jxl": "jxl"}
    assert required_capabilities(STEPS, optional=optional) == ("contract/1", "fast", "heif")


def test_a_worker_supports_all_contracts_and_its_extras() -> None:
    assert worker_capabilities(["jxl", "heic"]) == (
        *(f"contract/{number}" for number in range(1, CONTRACT + 1)),
        "heic",
        "jxl",
    )
