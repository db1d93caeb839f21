"""Homes for stacks: directly below the temporary directory, since pytest's own folders are closed to other users."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pixelflow.devstack.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pixelflow-home-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def servers() -> Iterator[Stack]:
    """A stack with its servers running, for tests that leave it as it was."""
    path = Path(tempfile.mkdtemp(prefix="pixelflow-home-"))
    with Stack.open(path, api_port=0, echo=print) as stack:
        stack.start_servers()
        yield stack
    shutil.rmtree(path)
