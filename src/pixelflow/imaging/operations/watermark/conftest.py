"""Draws marks for the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.marks import Draw, Drawn
from tests.unit.imaging.pictures import Run


@pytest.fixture
def draw(run: Run, tmp_path: Path) -> Draw:
    """``draw(background, **watermark)`` returns the background and the output."""

    def apply(background: Image.Image, **fields: object) -> Drawn:
        background.save(tmp_path / "background.png")
        step = {"id": "a", "action": "watermark", "format": "png", "watermark": {"text": "© Acme", **fields}}
        run(tmp_path / "background.png", step)
        with Image.open(tmp_path / "a.png") as image:
            image.load()
            return background, image

    return apply
