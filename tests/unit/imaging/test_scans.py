"""The limit of scans holds for JPEGs inside of other files, too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.imaging.colour.test_gain_maps import ultra_hdr
from tests.unit.imaging.every_format import dng
from tests.unit.imaging.pictures import Run

from pixelflow.errors import TooManyScansError
from pixelflow.imaging.formats.raw import load as raw
from pixelflow.imaging.gain_map import read_gain_map
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.scans import check_scans

SCANS = b"\xff\xda\0\0" * 600


def test_scans_are_counted_over_all_parts() -> None:
    check_scans((SCANS[:1200], SCANS[1199:]), 600)
    with pytest.raises(TooManyScansError, match="The preview has more than 599 scans"):
        check_scans((SCANS[:1200], SCANS[1199:]), 599, "preview")


def test_a_gain_map_of_too_many_scans_is_refused(tmp_path: Path) -> None:
    ultra_hdr(tmp_path / "ultra.jpg")
    descriptor = os.open(tmp_path / "ultra.jpg", os.O_RDONLY)
    try:
        assert read_gain_map(descriptor, Size(320, 240), 10)
        with pytest.raises(TooManyScansError, match="gain map"):
            read_gain_map(descriptor, Size(320, 240), 0)
    finally:
        os.close(descriptor)


def test_a_raw_preview_of_too_many_scans_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "_MAX_SCANS", 0)
    (tmp_path / "in.dng").write_bytes(dng())
    with pytest.raises(TooManyScansError, match="preview"):
        run(tmp_path / "in.dng", {"id": "a", "action": "resize", "width": 60, "format": "png"})
