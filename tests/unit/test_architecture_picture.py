"""The picture of the architecture shows every process and every package, with the connections that the code makes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from tests.support import architecture_picture as picture
from tests.support.imports import ROOT, loaded_with, module_names

DRAWN = {box.package for box in picture.PROCESSES.values()}


def test_the_picture_is_what_the_code_says() -> None:
    assert picture.FILE.read_text(encoding="utf-8") == picture.draw(), "run `make schemas`"


def test_every_process_is_in_the_picture() -> None:
    mains = {name.removeprefix("pixelflow.").removesuffix(".main") for name in module_names() if name.endswith(".main")}
    assert mains - {"cli"} == DRAWN


def test_every_package_of_the_planes_belongs_to_a_process_in_the_picture() -> None:
    shown = {f"{box.package.partition('.')[0]}.{name}" for box in picture.PROCESSES.values() for name in box.subjects}
    planes = [ROOT / "controlplane", ROOT / "dataplane"]
    packages = {f"{plane.name}.{path.parent.name}" for plane in planes for path in plane.glob("*/__init__.py")}
    assert packages == shown | DRAWN | picture.COMMAND_LINE


def test_every_other_package_is_a_library_that_the_picture_omits() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"settings"}
    assert packages == picture.LIBRARIES | {"controlplane", "dataplane"}


def test_the_child_connects_to_nothing() -> None:
    assert picture.PROCESSES["child"].servers == set()


@pytest.mark.parametrize("module", picture.SERVERS)
def test_a_connection_is_found_by_a_module_that_exists(module: str) -> None:
    assert module in module_names()


def test_imports_are_followed_to_the_packages_that_they_load() -> None:
    assert {"pixelflow", "pixelflow.dataplane", "pixelflow.imaging.engine", "pixelflow.imaging"} <= (
        loaded_with("pixelflow.dataplane.child.main")
    )


def test_the_picture_is_well_formed() -> None:
    root = ET.fromstring(picture.draw())  # noqa: S314  # our own
    boxes = [
        (float(each.get("x", 0)), float(each.get("width", 0))) for each in root.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert max(x + width for x, width in boxes) <= float(root.get("viewBox", "").split()[2])
