"""Errors of libraries in Python, which no list of classes could name: each fails its job, none ends the child."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.imaging.pictures import Run
from tests.unit.imaging.test_damage import encoded

from pixelflow.errors import OutOfMemoryError, PixelflowError, StepFailedError, UndecodableError
from pixelflow.imaging.formats.jxl import libjxl
from pixelflow.imaging.formats.png import save

OF_A_LIBRARY = libjxl.JxlError("libjxl can't encode this image")
SOUND = encoded("PNG")


@pytest.mark.parametrize(
    ("error", "source", "expected"),
    [
        (OF_A_LIBRARY, SOUND, StepFailedError),
        (OF_A_LIBRARY, SOUND[:-2000], UndecodableError),
        (RuntimeError("Out of memory"), SOUND, OutOfMemoryError),
        (MemoryError(), SOUND, OutOfMemoryError),
    ],
)
def test_an_output_that_can_not_be_written(
    run: Run,
    tmp_path: Path,
    error: Exception,
    source: bytes,
    expected: type[PixelflowError],
) -> None:
    def fail(*_: object) -> None:
        raise error

    (tmp_path / "source").write_bytes(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(save, "save", fail)
        with pytest.raises(expected) as raised:
            run(tmp_path / "source", {"id": "out", "action": "resize", "width": 32, "format": "png"})
    assert "libjxl" not in str(raised.value)
