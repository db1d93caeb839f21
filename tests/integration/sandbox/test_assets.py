"""Assets on their way to a child: descriptors in the order of the request, and none that stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.acceptance import pictures
from tests.integration.sandbox.sandboxes import Work, count_descriptors, idle_children, run_transform

from pixelflow.dataplane.worker.sandbox import Sandbox
from pixelflow.errors import UnsupportedFormatError
from pixelflow.imaging.pipeline_assets import MAX_ASSETS


def _assets(folder: Path, number: int) -> dict[str, Path]:
    paths = {f"logo-{index}": folder / f"asset-{index}" for index in range(number)}
    for path in paths.values():
        path.write_bytes(pictures.photo())
    return paths


def test_a_child_gets_as_many_assets_as_a_pipeline_may_use_and_keeps_none(
    sandbox: Sandbox, work: Work, tmp_path: Path
) -> None:
    run_transform(sandbox, work.quick())
    [child] = idle_children(sandbox)
    before = count_descriptors(child)
    run_transform(sandbox, replace(work.quick(), assets=_assets(tmp_path, MAX_ASSETS)))
    assert idle_children(sandbox) == [child]
    assert count_descriptors(child) == before


@pytest.mark.parametrize("index", range(3))
def test_each_name_has_its_own_file(sandbox: Sandbox, work: Work, tmp_path: Path, index: int) -> None:
    paths = _assets(tmp_path, 3)
    paths[f"logo-{index}"].write_bytes(b"text")
    with pytest.raises(UnsupportedFormatError, match=f"asset `logo-{index}`"):
        run_transform(sandbox, replace(work.quick(), assets=paths))


def test_a_missing_file_leaves_no_descriptor_open(sandbox: Sandbox, work: Work, tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(FileNotFoundError):
        run_transform(sandbox, replace(work.quick(), assets={"logo": tmp_path / "missing"}))
    left = [link for link in set(Path("/proc/self/fd").iterdir()) - before if link.exists()]
    assert [link for link in left if str(link.readlink()).startswith(str(tmp_path / "source"))] == []
