"""The example photo looks as it did. ``make goldens`` shows what changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.golden import pictures, review


def test_the_example_photo_looks_as_it_did(tmp_path: Path) -> None:
    far = {each.name: each.distance for each in pictures.compare(tmp_path) if not each.passes}
    assert far == {}, "`make goldens` shows the differences"


def test_every_golden_picture_belongs_to_a_step() -> None:
    assert {path.stem for path in pictures.FOLDER.iterdir()} == pictures.STEPS.keys()


def test_the_distance_sees_a_watermark(tmp_path: Path) -> None:
    pictures.render(tmp_path)
    for name in ("marked.png", "tiled.png"):
        assert pictures.distance(tmp_path / "inside.png", tmp_path / name) > pictures.MAX_DISTANCE


def test_the_page_shows_what_differs_and_accepting_replaces_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden, page = tmp_path / "golden", tmp_path / "page"
    golden.mkdir()
    page.mkdir()
    monkeypatch.setattr(pictures, "FOLDER", golden)
    pictures.render(golden)
    (golden / "marked.png").write_bytes((golden / "inside.png").read_bytes())
    (golden / "tiled.png").unlink()

    assert review.main([str(page)]) == 1
    html = (page / "index.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == 3 * 5 - 2, "one picture has neither an expected one nor a difference"
    assert "2 of 5 differ" in html

    assert review.main([str(page), "--accept", "marked"]) == 1
    assert (golden / "marked.png").read_bytes() == (page / "marked.png").read_bytes()
    assert review.main([str(page), "--accept"]) == 0
    assert review.main([str(page)]) == 0


def test_a_name_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        review.main([str(tmp_path), "--accept", "nonsense"])
