"""Fixtures: the stand-in API, a photo, and ``pixelflow`` run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.client.stand_in import KEY, StandIn, running
from typer.testing import CliRunner, Result

from pixelflow.cli.app import build_app


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in API, with its address and key in the environment."""
    with running() as server:
        monkeypatch.setenv("PIXELFLOW_API_URL", server.url)
        monkeypatch.setenv("PIXELFLOW_API_KEY", KEY)
        yield server


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8" + b"pixels" * 1000)
    return path


@pytest.fixture
def pixelflow() -> Callable[..., Result]:
    """``pixelflow("submit", photo, …)``."""
    app = build_app()

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run
