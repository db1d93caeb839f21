"""What the wheels and source distributions contain."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from tests.support.build_distributions import PROJECTS, ROOT, build

from pixelflow import __version__

SOURCES = ROOT / "src/pixelflow"
TESTS = ("test_", "conftest.py")
NOT_INSTALLED = {"page.md"}
"""Pages of the documentation, beside the operations that they describe."""


def read_all(path: Path) -> dict[str, bytes]:
    """Name → content of each file."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        files = {each.name: archive.extractfile(each) for each in archive if not each.isdir()}
        return {name: file.read() for name, file in files.items() if file is not None}


@pytest.fixture(scope="session")
def wheels(distributions: list[Path]) -> dict[str, dict[str, bytes]]:
    return {path.name.partition("-")[0]: read_all(path) for path in distributions if path.suffix == ".whl"}


def shipped(wheel: dict[str, bytes]) -> set[str]:
    return {name for name in wheel if ".dist-info/" not in name}


def test_each_source_file_is_in_exactly_one_wheel(wheels: dict[str, dict[str, bytes]]) -> None:
    client, server = shipped(wheels["pixelflow_client"]), shipped(wheels["pixelflow_server"])
    assert client & server == set()
    files = [path for path in SOURCES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {
        f"pixelflow/{path.relative_to(SOURCES)}"
        for path in files
        if not path.name.startswith(TESTS) and path.name not in NOT_INSTALLED and "golden" not in path.parts
    }
    assert client | server == expected


def test_the_client_is_small(distributions: list[Path]) -> None:
    [client] = [path for path in distributions if path.name.startswith("pixelflow_client") and path.suffix == ".whl"]
    assert client.stat().st_size < 600_000  # bytes; that of the service is 10 MB, most of it fonts


def test_the_service_brings_what_it_reads(wheels: dict[str, dict[str, bytes]]) -> None:
    names = shipped(wheels["pixelflow_server"])
    photo = wheels["pixelflow_server"]["pixelflow/devstack/photo.jpg"]
    assert photo == (ROOT / "examples/photo.jpg").read_bytes()
    for part in ("imaging/fonts/NotoSans-Regular.ttf", "adapters/postgres/migrations/0001-baseline.sql"):
        assert f"pixelflow/{part}" in names
    assert "pixelflow/controlplane/api/reference/swagger-ui-bundle.js.gz" in names


def test_the_licenses_of_everything_bundled_are_included(wheels: dict[str, dict[str, bytes]]) -> None:
    found = {name.partition("/licenses/")[2] for name in wheels["pixelflow_server"] if "/licenses/" in name}
    bundled = [path for path in SOURCES.rglob("*") if path.is_file() and "license" in path.name.lower()]
    assert found >= {str(path.relative_to(ROOT)) for path in bundled if path.suffix != ".py"}
    assert found >= {f"src/pixelflow/imaging/fonts/{name}" for name in ("OFL-1.1.txt", "Apache-2.0.txt")}
    own = (ROOT / "LICENSE").read_bytes()
    for name, wheel in wheels.items():
        assert wheel[f"{name}-{__version__}.dist-info/licenses/LICENSE"] == own


def test_the_metadata_is_valid(wheels: dict[str, dict[str, bytes]]) -> None:
    for name, wheel in wheels.items():
        raw = wheel[f"{name}-{__version__}.dist-info/METADATA"]
        found = Metadata.from_email(raw, validate=True)
        assert (found.name, str(found.version)) == (name.replace("_", "-"), __version__)
        assert found.description_content_type == "text/markdown"
        assert len(found.description or "") > 100


def test_the_service_requires_the_client_of_its_own_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == [f"pixelflow-client[cli]=={__version__}"]


def test_nothing_names_the_machine_or_is_a_test(distributions: list[Path]) -> None:
    places = [str(ROOT).encode(), str(Path.home()).encode() + b"/", sys.prefix.encode()]
    for path in distributions:
        for name, content in read_all(path).items():
            assert not Path(name).name.startswith(TESTS), name
            assert "__pycache__" not in name
            assert not any(place in content for place in places if len(place) > len(b"/root/")), name


def test_a_second_build_gives_the_same_bytes(distributions: list[Path], tmp_path: Path) -> None:
    again = build(tmp_path)
    assert [path.name for path in again] == [path.name for path in distributions]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in distributions]


def test_every_module_of_the_sdk_and_of_its_commands_is_in_the_client(
    wheels: dict[str, dict[str, bytes]], distributions: list[Path]
) -> None:
    [client] = [path for path in distributions if path.name.startswith("pixelflow_client") and path.suffix == ".whl"]
    commands = "submit jobs assets usage capabilities deliveries explain doctor"
    script = f"""
import sys
sys.path = [{str(client)!r}, *(each for each in sys.path if each != {str(ROOT / "src")!r})]
import pixelflow.client
assert {client.name!r} in pixelflow.__file__, pixelflow.__file__
from pixelflow.cli.app import load_command
for name in {commands!r}.split():
    load_command(name)
"""
    subprocess.run([sys.executable, "-I", "-c", script], check=True, timeout=300)
    assert set(PROJECTS) == {name.replace("_", "-") for name in wheels}
