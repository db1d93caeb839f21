"""Servers without PixelFlow: what a test puts into them stays as it is until the test moves it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pixelflow.adapters.store.database import EVERYONE, AsyncDatabase
from pixelflow.adapters.store.migrate import migrate
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings


@pytest.fixture(scope="package")
def quiet() -> Iterator[Settings]:
    """The settings of servers that nobody else's worker or controller is at."""
    home = Path(tempfile.mkdtemp(prefix="pixelflow-test-"))
    home.chmod(0o755)
    try:
        with Stack.open(home, say=lambda _: None) as stack:
            stack.start_servers()
            migrate(stack.environment["PIXELFLOW_DATABASE_URL"])
            values = {name.removeprefix("PIXELFLOW_").lower(): value for name, value in stack.environment.items()}
            yield Settings.model_validate(values)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def database(quiet: Settings) -> AsyncIterator[AsyncDatabase]:
    """As the controller has it."""
    url = quiet.database_url.get_secret_value()
    async with AsyncDatabase(url, max_connections=4, application="test", reach=EVERYONE) as opened:
        yield opened
