"""The plan of a job, without running it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from tests.unit.imaging.pictures import four_colors
from typer.testing import CliRunner

from pixelflow.cli.app import build_app
from pixelflow.contracts.explanation import Explanation, explain, format_of
from pixelflow.errors import OutputTooLargeError, TooManyPixelsError
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.protocol import TransformLimits

LIMITS = TransformLimits(max_source_pixels=10**9, max_output_pixels=10**8, max_output_bytes=10**9)
MIDDLE = {"id": "middle", "action": "resize", "width": 1600, "output": False}
CARD = {"id": "card", "from": "middle", "action": "resize", "width": 320, "format": "webp"}
MARKED = {"id": "marked", "from": "middle", "action": "watermark", "watermark": {"text": "x"}, "format": "jpeg"}


def explained(*steps: dict[str, Any], size: tuple[int, int] = (8000, 6000), frames: int = 1) -> Explanation:
    pipeline = TypeAdapter(Pipeline).validate_python(list(steps))
    return explain(pipeline, "jpeg", Header(Size(*size), frames=frames), LIMITS)


def test_the_plan_shows_sizes_and_what_is_shared() -> None:
    plan = explained(MIDDLE, CARD, MARKED, {**MIDDLE, "id": "idle"})
    assert [(step.id, step.width, step.height, step.shared, step.format) for step in plan.steps] == [
        ("middle", 1600, 1200, True, None),
        ("card", 320, 240, False, "webp"),
        ("marked", 1600, 1200, False, "jpeg"),
    ]
    assert plan.unused == ["idle"]
    assert (plan.source.shrink, plan.source.decoded_width, plan.decoded_pixels) == (2, 4000, 4000 * 3000)
    assert plan.result_pixels == 2 * 1600 * 1200 + 320 * 240
    assert not plan.source_shared


def test_a_shared_source_and_the_memory_it_needs_are_shown() -> None:
    alone = explained({**CARD, "from": "source"})
    shared = explained({**CARD, "from": "source"}, {**MARKED, "from": "source"})
    assert shared.source_shared
    assert shared.memory_bytes > alone.memory_bytes + 8000 * 6000 * 3


def test_a_step_that_finds_faces_requires_the_extra_and_a_source_that_shows_them() -> None:
    thumbnail = {"id": "a", "action": "resize", "width": 80, "height": 80, "fit": "cover", "format": "jpeg"}
    size = (4000, 3000)
    by_place, by_faces = explained(thumbnail, size=size), explained({**thumbnail, "gravity": "faces"}, size=size)
    assert (by_place.requires, by_faces.requires) == (["contract/1"], ["contract/1", "faces"])
    assert (by_place.source.decoded_width, by_faces.source.decoded_width) == (500, 1000)
    assert by_faces.memory_bytes > by_place.memory_bytes + 20_000_000


def test_bits_per_channel_and_their_memory_are_shown() -> None:
    steps = [MIDDLE, CARD, {"id": "deep", "action": "blur", "sigma": 3, "from": "middle", "format": "png"}]
    deep = [*steps[:2], {**steps[2], "encoder": {"bit_depth": 16}}]
    header = Header(Size(2000, 1500), bytes_per_pixel=6, wide=True)
    wide, narrow = (
        explain(TypeAdapter(Pipeline).validate_python(each), "png", header, LIMITS) for each in (deep, steps)
    )
    assert [(step.id, step.bits) for step in wide.steps] == [("middle", 16), ("card", 8), ("deep", 16)]
    assert {step.bits for step in narrow.steps} == {8}
    assert wide.memory_bytes >= narrow.memory_bytes + 1600 * 1200 * 4
    assert {step.bits for step in explained(*deep).steps} == {8}, "the source has no more"


def test_all_frames_count_if_an_output_shows_them() -> None:
    assert explained({**CARD, "from": "source"}, frames=10).steps[0].frames == 10
    still = explained({**CARD, "from": "source", "format": "png"}, frames=10)
    assert (still.source.frames, still.steps[0].frames) == (1, 1)


def test_a_result_over_the_limit_is_an_error() -> None:
    with pytest.raises(OutputTooLargeError, match="16384 × 12288"):
        explained({**MIDDLE, "width": 16_384, "enlarge": True, "output": True})


def test_a_source_over_the_limit_is_an_error() -> None:
    assert explained(CARD | {"from": "source"}, size=(40_000, 25_000)).source.width == 40_000
    with pytest.raises(TooManyPixelsError, match="1000040000 pixels"):
        explained(CARD | {"from": "source"}, size=(40_000, 25_001))


@pytest.mark.parametrize(
    ("media_type", "name"), [("image/png", "png"), ("image/PNG", "png"), (None, "jpeg"), ("image/unheard-of", "jpeg")]
)
def test_the_format_follows_from_the_media_type(media_type: str | None, name: str) -> None:
    assert format_of(media_type) == name


# ── pixelflow explain ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pipeline_file(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps([MIDDLE, CARD]))
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), ["explain", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command_shows_the_plan_of_a_photo(tmp_path: Path, pipeline_file: Path) -> None:
    four_colors(2000, 1000).save(tmp_path / "photo.png")
    code, text = run("--pipeline", pipeline_file, tmp_path / "photo.png")
    assert code == 0
    assert "png 2000×1000" in text
    assert "320×160" in text


def test_the_command_prints_json(tmp_path: Path, pipeline_file: Path) -> None:
    four_colors(2000, 1000).save(tmp_path / "photo.png")
    code, text = run("--pipeline", pipeline_file, "--json", tmp_path / "photo.png")
    assert (code, Explanation.model_validate_json(text).source.width) == (0, 2000)


def test_the_command_names_what_is_wrong(tmp_path: Path, pipeline_file: Path) -> None:
    (tmp_path / "text").write_text("hello")
    code, text = run("--pipeline", pipeline_file, tmp_path / "text")
    assert code == 1
    assert "The source is text" in text
    pipeline_file.write_text('[{"id": "a", "action": "explode"}]')
    code, text = run("--pipeline", pipeline_file, tmp_path / "text")
    assert code == 2
    assert "/pipeline/0/action" in text


@pytest.mark.parametrize("format_", ["pdf", "svg"])
def test_an_enlarged_crop_of_a_vector_image_is_drawn_with_limited_pixels(format_: str) -> None:
    crop = {"id": "crop", "action": "crop", "x": 0, "y": 0, "width": 50, "height": 50, "output": False}
    large = {"id": "large", "from": "crop", "action": "resize", "width": 1000, "enlarge": True, "format": "png"}
    pipeline = TypeAdapter(Pipeline).validate_python([crop, large])
    page = explain(pipeline, format_, Header(Size(1190, 1684)), LIMITS)
    assert 49_000_000 < page.decoded_pixels < 51_000_000
    small = explain(pipeline, format_, Header(Size(120, 80)), LIMITS)
    assert small.decoded_pixels == 2400 * 1600, "within the limit, the crop is drawn in its final size"
