"""What a job requires of a worker, and what a worker is capable of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from pixelflow import __version__
from pixelflow.contracts.capabilities import CONTRACT, WorkerProfile, required_capabilities, worker_capabilities
from pixelflow.imaging.extras import EXTRAS
from pixelflow.imaging.format import Format
from pixelflow.imaging.formats.registry import FORMATS, INPUT_FORMATS, OUTPUT_FORMATS
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.source_options import OnDamage, SourceOptions
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


def test_source_options_require_a_worker_that_knows_them() -> None:
    assert required_capabilities(STEPS, SourceOptions(on_damage=OnDamage.REFUSE)) == ("contract/1",)
    for options in (SourceOptions(on_damage=OnDamage.ACCEPT), SourceOptions(frame=0), SourceOptions(density=300)):
        assert required_capabilities(STEPS, options) == ("contract/2",)


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
    assert worker_capabilities(["jxl", "heic"], libvips="8.18.2") == (
        *(f"contract/{number}" for number in range(1, CONTRACT + 1)),
        "heic",
        "jxl",
        "libvips/8.18.2",
        f"release/{__version__}",
    )


@pytest.mark.parametrize(
    ("content_type", "extras"),
    [("image/heic", ("heic",)), ("image/heif", ("heic",)), ("image/jpeg", ()), ("text/html", ()), (None, ())],
)
def test_a_declared_source_requires_its_decoder(content_type: str | None, extras: tuple[str, ...]) -> None:
    assert [each for each in required_capabilities(STEPS, content_type=content_type) if "/" not in each] == [*extras]


@pytest.mark.parametrize("format_", INPUT_FORMATS.values(), ids=INPUT_FORMATS)
def test_a_declared_source_requires_the_contract_that_introduced_its_format(format_: Format) -> None:
    contract = "contract/1" if format_.name in {"jpeg", "png", "webp", "avif"} else "contract/2"
    for media_type in format_.media_types:
        kind, _, name = media_type.partition("/")
        for written in (media_type, f"{kind}/{name.upper()}"):
            assert required_capabilities(STEPS, content_type=written)[0] == contract


def test_every_optional_capability_of_a_format_can_be_installed() -> None:
    assert {format_.extra for format_ in FORMATS.values() if format_.extra} <= set(EXTRAS)


@pytest.mark.parametrize(
    ("capabilities", "profile"),
    [
        (worker_capabilities(["heic"], libvips="8.18.2"), (CONTRACT, ["heic"], "8.18.2", __version__)),
        (["contract/1"], (1, [], None, None)),
        ([], (0, [], None, None)),
        (["contract/10", "contract/9", "contract/next", "gpu/a/b", "jxl"], (10, ["jxl"], None, None)),
    ],
)
def test_the_profile_of_a_worker_of_any_release_can_be_read(
    capabilities: Sequence[str], profile: tuple[object, ...]
) -> None:
    assert WorkerProfile.of(capabilities) == profile


@pytest.mark.parametrize(
    ("mark", "contract"),
    [({"text": "x", "opacity": 0.5}, 1), ({"text": "x", "box": {}}, 2), ({"image": {"step": "source"}}, 2)],
)
def test_newer_fields_of_an_object_require_a_newer_worker(mark: dict[str, object], contract: int) -> None:
    steps = TypeAdapter(Pipeline).validate_python([{"id": "a", "action": "watermark", "watermark": mark}])
    assert required_capabilities(steps) == (f"contract/{contract}",)
