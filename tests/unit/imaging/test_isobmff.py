"""Boxes of HEIC and AVIF files that are made to keep a reader busy: a time proportional to their size."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from tests.support.waiting import assert_cpu_within
from tests.unit.imaging.test_heic_alpha import box

from pixelflow.imaging.colour.isobmff import read_color
from pixelflow.imaging.formats.heic.metadata import read_metadata
from pixelflow.imaging.heif_alpha import read_alpha

MANY = 8000
PRIMARY = box(b"pitm", struct.pack(">IH", 0, 1))
ITEMS = range(2, MANY)


def references(kind: bytes, claimed: int = 1) -> bytes:
    """Each item refers to the primary one, and claims to refer to more."""
    return box(b"iref", bytes(4) + b"".join(box(kind, struct.pack(">HHH", item, claimed, 1)) for item in ITEMS))


def properties(*kinds: bytes, per_item: int = 1) -> bytes:
    """Properties, and items that have them all, from the last one."""
    indexes = bytes(0x80 | (place % len(kinds) + 1) for place in range(per_item))
    entries = b"".join(struct.pack(">HB", item, per_item) + indexes for item in [*ITEMS, 1])
    return box(b"iprp", box(b"ipco", b"".join(kinds)) + box(b"ipma", struct.pack(">II", 0, MANY) + entries))


SLOW = {
    "properties of many items": references(b"auxl") + properties(*[box(b"free", b"")] * MANY),
    "references that claim many targets": references(b"auxl", 0xFFFF) + references(b"free", 0xFFFF),
    "large properties of many items": references(b"auxl") + properties(box(b"auxC", bytes(300_000)), per_item=60),
}


PARTS = (
    box(b"iref", bytes(4) + box(b"cdsc", struct.pack(">HHH", 2, 1, 1)))
    + box(b"iinf", struct.pack(">IH", 0, 1) + box(b"infe", struct.pack(">IHH4s", 2 << 24, 2, 0, b"Exif")))
    + box(b"iloc", struct.pack(">IBBHHHH", 0, 0x44, 0, 1, 2, 0, 60_000) + struct.pack(">II", 0, 1) * 60_000)
)
"""EXIF of so many bytes, each at a place of its own."""


def hostile(folder: Path, boxes: bytes) -> Path:
    path = folder / "hostile"
    path.write_bytes(box(b"ftyp", b"heic" + bytes(4)) + box(b"meta", bytes(4) + PRIMARY + boxes))
    return path


@pytest.mark.parametrize("boxes", SLOW.values(), ids=SLOW)
def test_hostile_boxes_take_no_time(tmp_path: Path, boxes: bytes) -> None:
    start = time.process_time()
    with hostile(tmp_path, boxes).open("rb") as file:
        read_alpha(file.fileno())
        read_color(file.fileno())
        read_metadata(file.fileno())
    assert_cpu_within(0.5, start)


def test_few_parts_of_an_item_are_read(tmp_path: Path) -> None:
    with hostile(tmp_path, PARTS).open("rb") as file:
        exif, _ = read_metadata(file.fileno())
    assert 0 < len(exif) <= 256
