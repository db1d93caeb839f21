"""Databases at the schema of any release."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.support.databases import new_database

from pixelflow.adapters.postgres.migrate import MIGRATIONS, migrate
from pixelflow.devstack.stack import Stack

ALL = sorted(path.name for path in MIGRATIONS.glob("*.sql"))


class MakeFolder(Protocol):
    """Makes a folder of migrations."""

    def __call__(self, names: Iterable[str], **more: str) -> Path:
        """With these files of the package, and more: the text by the name, where ``_`` stands for ``-``."""


@pytest.fixture
def url(stack: Stack) -> Iterator[str]:
    """The URL of an empty database."""
    with new_database(stack) as made:
        yield made


@pytest.fixture
def folder_of(tmp_path: Path) -> MakeFolder:
    def make(names: Iterable[str], **more: str) -> Path:
        folder = tmp_path / f"migrations-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name in names:
            shutil.copy(MIGRATIONS / name, folder)
        for name, text in more.items():
            (folder / f"{name.removeprefix('_').replace('_', '-')}.sql").write_text(text, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def migrated_to(url: str, folder_of: MakeFolder) -> Callable[[Iterable[str]], str]:
    """Applies these migrations to the database, and returns its URL."""

    def bring(names: Iterable[str]) -> str:
        migrate(url, migrations=folder_of(names))
        return url

    return bring
