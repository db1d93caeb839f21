"""Databases at the schema of any release."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from tests.support.databases import new_database

from pixelflow.adapters.postgres.migrate import MIGRATIONS, migrate
from pixelflow.devstack.stack import Stack

ALL = sorted(path.name for path in MIGRATIONS.glob("*.sql"))
Folder = Callable[[Iterable[str]], Path]


@pytest.fixture
def url(stack: Stack) -> Iterator[str]:
    """Of an empty database."""
    with new_database(stack) as made:
        yield made


@pytest.fixture
def folder_of(tmp_path: Path) -> Folder:
    """A folder with these migrations and no others."""

    def make(names: Iterable[str]) -> Path:
        folder = tmp_path / f"migrations-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name in names:
            shutil.copy(MIGRATIONS / name, folder)
        return folder

    return make


@pytest.fixture
def migrated_to(url: str, folder_of: Folder) -> Callable[[Iterable[str]], str]:
    """Brings the database to the schema that these make, and returns its URL."""

    def bring(names: Iterable[str]) -> str:
        migrate(url, migrations=folder_of(names))
        return url

    return bring
