"""A sandbox, and jobs for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.sandbox.sandboxes import Work, opened_sandbox

from pixelflow.dataplane.worker.sandbox import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with opened_sandbox(tmp_path) as opened:
        yield opened


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)
