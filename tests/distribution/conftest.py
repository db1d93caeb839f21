"""The distributions: those in ``PIXELFLOW_TEST_DIST``, where ``make dist`` built them, or new ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.build_distributions import build


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    if folder := os.environ.get("PIXELFLOW_TEST_DIST"):
        return sorted([*Path(folder).glob("pixelflow_*.whl"), *Path(folder).glob("pixelflow_*.tar.gz")])
    return build(tmp_path_factory.mktemp("dist"))
