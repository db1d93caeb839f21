"""The examples of all operations look as they did. ``make goldens`` shows what changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import pyvips
from tests.golden import pictures, review

from pixelflow.imaging.operations.registry import OPERATIONS


def test_every_example_looks_as_it_did(tmp_path: Path) -> None:
    far = {each.name: each.distance for each in pictures.compare(tmp_path) if not each.passes}
    assert far == {}, "`make goldens` shows the differences"


def test_every_golden_picture_belongs_to_an_example() -> None:
    expected = {case.expected for case in pictures.cases().values()}
    folders = {path.parent for path in expected}
    assert {path for folder in folders for path in folder.iterdir()} == expected
    assert len(folders) == len(OPERATIONS)


def test_the_distance_sees_a_watermark_and_a_single_pixel(tmp_path: Path) -> None:
    pictures.render(tmp_path)
    plain = tmp_path / "plain.png"
    pyvips.Image.thumbnail(str(pictures.PHOTO), pictures.WIDTH).pngsave(str(plain))
    marked = pictures.distance(plain, tmp_path / "watermark-0.png")
    assert marked.regional > pictures.LIMIT.regional
    image = pyvips.Image.new_from_file(str(plain)).copy_memory()
    dot = image.new_from_image([255, 0, 255]).crop(0, 0, 1, 1)
    image.insert(dot, 9, 9).pngsave(str(tmp_path / "dotted.png"))
    found = pictures.distance(plain, tmp_path / "dotted.png")
    assert found.mean < pictures.LIMIT.mean
    assert found.maximum > pictures.LIMIT.maximum


def test_the_page_shows_what_differs_and_accepting_replaces_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden, page = tmp_path / "golden", tmp_path / "page"
    golden.mkdir()
    page.mkdir()
    cases = {
        name: replace(case, expected=golden / f"{name}.png")
        for name, case in pictures.cases().items()
        if name.startswith("watermark") or name == "resize-0"
    }
    monkeypatch.setattr(pictures, "cases", lambda: cases)
    monkeypatch.setattr(pictures, "OPERATIONS", {name: OPERATIONS[name] for name in ("resize", "watermark")})
    pictures.render(tmp_path)
    for name in cases:
        (golden / f"{name}.png").write_bytes((tmp_path / f"{name}.png").read_bytes())
    (golden / "watermark-0.png").write_bytes((golden / "resize-0.png").read_bytes())
    (golden / "watermark-1.png").unlink()

    assert review.main([str(page)]) == 1
    html = (page / "index.html").read_text(encoding="utf-8")
    pictures_shown = 3 * len(cases) - 2
    assert html.count("data:image/png;base64,") == pictures_shown, "one has neither an expected one nor a difference"
    assert f"2 of {len(cases)} differ" in html

    assert review.main([str(page), "--accept", "watermark-0"]) == 1
    assert (golden / "watermark-0.png").read_bytes() == (page / "watermark-0.png").read_bytes()
    assert review.main([str(page), "--accept"]) == 0
    assert review.main([str(page)]) == 0


def test_a_name_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        review.main([str(tmp_path), "--accept", "nonsense"])
