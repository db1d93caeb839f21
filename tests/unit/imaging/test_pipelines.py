"""Whole pipelines: single decode, dependencies between steps, sharpness, limits, files in the directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pyvips
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat
from tests.golden.pictures import distance
from tests.unit.imaging.pictures import QUADRANTS, Run, corner_colors, four_colors, near, upright
from tests.unit.imaging.test_registry import PICTURES

from pixelflow.errors import OutputTooLargeError, StepFailedError
from pixelflow.imaging import plan as planning
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.protocol import TransformRequest

LOADERS = ("jpegload", "pngload", "webpload", "heifload")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo"
    Image.effect_noise((1600, 1200), 60).convert("RGB").save(path, format="JPEG")
    return path


def resize(id_: str, **fields: object) -> dict[str, Any]:
    return {"id": id_, "action": "resize", "format": "png", **fields}


def mark(id_: str, **fields: object) -> dict[str, Any]:
    return {"id": id_, "action": "watermark", "format": "png", "watermark": {"text": "x"}, **fields}


TREES = [
    [resize("a", width=320)],
    [resize("a", width=320), resize("b", width=80), mark("c")],
    [resize("a", width=320), {**mark("b"), "from": "a"}, {**resize("c", width=50), "from": "b"}],
    [{**resize("a", width=900), "output": False}, {**mark("b"), "from": "a"}, {**mark("c"), "from": "a"}],
]


@pytest.mark.parametrize(
    ("steps", "shrinks"),
    list(zip(TREES, [[1, 2], [1], [1, 2], [1]], strict=True)),
    ids=["one", "several from the source", "a chain", "an intermediate"],
)
def test_a_job_decodes_its_source_once(
    run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch, steps: list[dict[str, Any]], shrinks: list[int]
) -> None:
    """One load reads the header, and streams unless the decoder is to reduce; libvips refuses to run a stream twice."""
    loads: list[dict[str, object]] = []
    load = pyvips.Image.jpegload_source

    def recorded(source: object, **options: object) -> pyvips.Image:
        loads.append(options)
        return load(source, **options)

    monkeypatch.setattr(pyvips.Image, "jpegload_source", recorded)
    run(photo, *steps)
    assert [(options["access"], options["shrink"]) for options in loads] == [("sequential", each) for each in shrinks]


def test_outputs_are_in_pipeline_order_and_no_other_file_is_written(run: Run, tmp_path: Path, photo: Path) -> None:
    before = {entry.name for entry in tmp_path.iterdir()}
    rendered = run(
        photo,
        resize("second", width=20, format="webp"),
        resize("between", width=700, output=False),
        resize("first", width=10, format="jpeg", **{"from": "between"}),
        resize("idle", width=600, output=False),
    )
    assert [output.step_id for output in rendered.outputs] == ["second", "first"]
    assert {entry.name for entry in tmp_path.iterdir()} - before == {"second.webp", "first.jpg"}


def planned(size: Size, *steps: dict[str, Any]) -> planning.Plan:
    request = {
        "request_id": "0" * 16,
        "pipeline": steps,
        "limits": {"max_source_pixels": 1, "max_output_pixels": 1, "max_output_bytes": 1},
    }
    pipeline: Pipeline = TransformRequest.model_validate(request).pipeline
    return planning.plan(pipeline, size, "jpeg")


SHRINKS = [
    ((6400, 4800), [resize("a", width=640)], (4, 1)),
    ((6400, 4800), [resize("a", width=64)], (8, 1)),
    ((6400, 4800), [resize("a", width=64), resize("b", width=32)], (8, 6)),
    ((6400, 4800), [resize("a", width=64), resize("b", width=3000)], (1, 1)),
    ((6400, 4800), [resize("a", width=64), {**resize("b", width=10), "from": "a"}], (8, 1)),
    ((6400, 4800), [resize("a", width=64), mark("b")], (1, 1)),
    ((6400, 4800), [resize("a", width=64, linear=True)], (1, 1)),
    ((6400, 4800), [resize("a", width=64, height=4800, fit="fill")], (1, 1)),
    ((640, 480), [resize("a", width=6400, enlarge=True)], (1, 1)),
    ((6400, 4800), [resize("a", width=64), resize("idle", width=6000, output=False)], (8, 1)),
]


@pytest.mark.parametrize(("size", "steps", "reductions"), SHRINKS)
def test_the_source_is_decoded_as_small_as_every_step_allows(
    size: tuple[int, int], steps: list[dict[str, Any]], reductions: tuple[int, int]
) -> None:
    found = planned(Size(*size), *steps)
    assert (found.shrink, found.box) == reductions


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "avif"])
def test_a_small_output_beside_a_large_one_has_the_same_quality_as_alone(
    run: Run, tmp_path: Path, format_: str
) -> None:
    """Within a mean ΔE2000 of 1, which is not visible."""
    source = tmp_path / "source"
    gradient(1200, 900).save(source, format=format_)
    run(source, resize("alone", width=150))
    run(source, resize("large", width=1000), resize("beside", width=150))
    assert distance(tmp_path / "alone.png", tmp_path / "beside.png").mean < 1


def gradient(width: int, height: int) -> Image.Image:
    bands = [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90)]
    return Image.merge("RGB", [band.resize((width, height)) for band in bands])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    box=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    fit=st.sampled_from(["inside", "outside", "cover", "contain", "fill"]),
    enlarge=st.booleans(),
    format_=st.sampled_from(["jpeg", "png", "webp"]),
    orientation=st.integers(1, 8),
)
def test_files_have_the_reported_size(  # noqa: PLR0917 - Hypothesis passes them by name
    run: Run,
    tmp_path: Path,
    source: tuple[int, int],
    box: tuple[int, int],
    fit: str,
    enlarge: bool,
    format_: str,
    orientation: int,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", source, (9, 9, 9)).save(tmp_path / "source", format=format_, exif=exif)
    step = resize("a", width=box[0], height=box[1], fit=fit, enlarge=enlarge)
    try:
        (output,) = run(tmp_path / "source", step).outputs
    except OutputTooLargeError:  # a thin picture that covers the box is too long
        assume(False)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (output.width, output.height)
    if fit == "contain" or (fit in {"cover", "fill"} and enlarge):
        assert (output.width, output.height) == box


@pytest.mark.parametrize("linear", [False, True])
def test_enlarging_keeps_the_picture(run: Run, tmp_path: Path, linear: bool) -> None:
    four_colors(40, 40).save(tmp_path / "in.png")
    run(tmp_path / "in.png", resize("a", width=400, enlarge=True, linear=linear))
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (400, 400)
        assert upright(image)


def test_linear_light_keeps_the_brightness_of_fine_detail(run: Run, tmp_path: Path) -> None:
    """Black and white lines of one pixel emit half of the light of white: 188 in sRGB (IEC 61966-2-1), not 128."""
    image = Image.new("L", (64, 64))
    for x in range(0, 64, 2):
        image.paste(255, (x, 0, x + 1, 64))
    image.convert("RGB").save(tmp_path / "in.png")
    run(tmp_path / "in.png", resize("stored", width=8), resize("linear", width=8, linear=True))
    stored, linear = (ImageStat.Stat(Image.open(tmp_path / name)).mean[0] for name in ("stored.png", "linear.png"))
    assert stored == pytest.approx(128, abs=3)
    assert linear == pytest.approx(188, abs=3)


CORNERS = {
    "northwest": "northwest", "northeast": "northeast", "southwest": "southwest", "southeast": "southeast",
}  # fmt: skip


@pytest.mark.parametrize("corner", CORNERS)
def test_cover_keeps_the_corner_that_gravity_names(run: Run, tmp_path: Path, corner: str) -> None:
    """A wide and a tall box: each tests one direction of the corner's name."""
    four_colors(200, 200).save(tmp_path / "in.png")
    run(
        tmp_path / "in.png",
        resize("wide", width=200, height=80, fit="cover", gravity=corner),
        resize("tall", width=80, height=200, fit="cover", gravity=corner),
    )
    wide, tall = (corner_colors(Image.open(tmp_path / f"{name}.png")) for name in ("wide", "tall"))
    assert near(wide[corner], QUADRANTS[corner])
    assert near(tall[corner], QUADRANTS[corner])
    opposite = {"north": "south", "south": "north"}[corner[:5]] + corner[5:]
    assert near(wide[opposite], QUADRANTS[corner])  # the other row is cropped


@pytest.mark.parametrize("interest", ["attention", "entropy"])
def test_cover_keeps_the_salient_area(run: Run, tmp_path: Path, interest: str) -> None:
    image = Image.new("RGB", (600, 200), (120, 120, 120))
    image.paste(Image.effect_noise((120, 120), 120).convert("RGB"), (460, 40))
    image.paste((230, 40, 40), (490, 70, 550, 130))
    image.save(tmp_path / "in.png")
    step = resize("a", width=200, height=200, fit="cover", gravity=interest)
    run(tmp_path / "in.png", step)
    with Image.open(tmp_path / "a.png") as kept:
        red = kept.convert("RGB").getchannel("R").point(lambda value: 255 if value > 200 else 0)
        green = kept.convert("RGB").getchannel("G").point(lambda value: 255 if value < 80 else 0)
    assert ImageChops.multiply(red, green).histogram()[255] > 3000  # of 3,600 in the red square


@pytest.mark.parametrize(("gravity", "bar"), [("north", 150), ("south", 10), ("center", 10)])
def test_contain_places_the_picture_by_gravity(run: Run, tmp_path: Path, gravity: str, bar: int) -> None:
    four_colors(200, 80).save(tmp_path / "in.png")
    step = resize("a", width=200, height=200, fit="contain", gravity=gravity, background="#102030")
    run(tmp_path / "in.png", step)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGB"
        assert image.getpixel((100, bar)) == (0x10, 0x20, 0x30)


def test_contain_can_pad_with_transparency(run: Run, tmp_path: Path) -> None:
    four_colors(200, 80).save(tmp_path / "in.png")
    run(tmp_path / "in.png", resize("a", width=200, height=200, fit="contain", background="#10203000"))
    with Image.open(tmp_path / "a.png") as image:
        assert image.getpixel((100, 10)) == (0x10, 0x20, 0x30, 0)
        assert image.getpixel((10, 100))[3] == 255  # type: ignore[index]


TOO_LARGE = [
    (resize("a", width=2000, height=2000, fit="contain"), 3_999_999),
    (resize("a", width=2000, enlarge=True), 2_999_999),
    (resize("a", width=1, height=16_000, fit="cover", enlarge=True), 10_000_000),  # 21,333 × 16,000 before the crop
]


@pytest.mark.parametrize(("step", "max_pixels"), TOO_LARGE)
def test_a_step_over_the_limit_is_rejected_with_its_id(
    run: Run, photo: Path, step: dict[str, Any], max_pixels: int
) -> None:
    with pytest.raises(OutputTooLargeError) as raised:
        run(photo, step, output_pixels=max_pixels)
    assert raised.value.step_id == "a"


def test_a_side_over_the_limit_of_the_format_is_rejected_with_the_step_id(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (16_384, 1)).save(tmp_path / "in.png")
    with pytest.raises(OutputTooLargeError, match="limit of WebP is 16383") as raised:
        run(tmp_path / "in.png", resize("wide", width=16_384, format="webp"))
    assert raised.value.step_id == "wide"
    run(tmp_path / "in.png", *(resize(f, width=16_384, format=f) for f in ("jpeg", "png", "avif")))


def test_a_step_that_can_not_be_applied_fails_with_its_id(run: Run, photo: Path) -> None:
    with pytest.raises(StepFailedError) as raised:
        run(photo, mark("blank", watermark={"text": "\u3164"}))
    assert raised.value.step_id == "blank"


@pytest.mark.parametrize("format_", ["jpeg", "webp", "avif"])
def test_higher_quality_makes_larger_files(run: Run, tmp_path: Path, photo: Path, format_: str) -> None:
    steps = [resize(f"q{q}", width=320, format=format_, quality=q) for q in (1, 50, 100)]
    run(photo, *steps)
    low, middle, high = (next(tmp_path.glob(f"q{q}.*")).stat().st_size for q in (1, 50, 100))
    assert low < middle < high


def test_existing_files_are_overwritten(run: Run, tmp_path: Path, photo: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"left by an attempt that died")
    run(photo, resize("a", width=20))
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (20, 15)


def test_brackets_in_a_source_name_are_not_parsed_as_options(run: Run, tmp_path: Path) -> None:
    """By default libvips parses options from `name[…]`."""
    source = tmp_path / "in.png[page=9]"
    four_colors(80, 80).save(source, format="PNG")
    assert run(source, resize("a", width=20)).outputs[0].width == 20


@pytest.mark.parametrize(
    "step",
    [
        {"action": "crop", "ratio": "1:1", "gravity": "attention"},
        {"action": "resize", "width": 20, "height": 20, "fit": "cover", "gravity": "entropy"},
    ],
)
def test_of_an_animation_that_is_cropped_by_content_one_frame_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: dict[str, Any]
) -> None:
    """The one that decides where."""
    PICTURES["animated"](tmp_path / "source")
    kept: list[Picture] = []
    materialized = Picture.materialized

    def counted(picture: Picture) -> Picture:
        kept.append(picture)
        return materialized(picture)

    monkeypatch.setattr(Picture, "materialized", counted)
    run(tmp_path / "source", {"id": "out", "format": "webp", **step})
    assert len(kept) == 1
