"""The page docs/add-an-operation.md: the folder that it describes is an operation, without any other change."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pixelflow.imaging.operations

ROOT = Path(__file__).parents[3]
FILE = re.compile(r"^### (\S+)\n.*?^```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLUGIN = """
import pathlib
import pixelflow.imaging.operations

pixelflow.imaging.operations.__path__.append(str(pathlib.Path(__file__).parent))  # as if the folder were there
"""
PAGE_TEST = """
from tests.support import doc_tables, operation_pages
from pixelflow.imaging.operations.registry import OPERATIONS


def test_it_is_documented():
    text = operation_pages.text(OPERATIONS["posterize"])
    assert "| `levels` | whole number, from 2 to 64 | `4` |" in text
    assert "[`posterize`](operations/posterize.md)" in doc_tables.operations_table()
"""


def test_the_folder_on_the_page_is_an_operation(tmp_path: Path) -> None:
    folder = tmp_path / "posterize"
    folder.mkdir()
    files = dict(FILE.findall((ROOT / "docs" / "add-an-operation.md").read_text(encoding="utf-8")))
    assert set(files) == {"model.py", "__init__.py", "pixels.py", "test_posterize.py", "page.md"}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (tmp_path / "extra_operation.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "test_page.py").write_text(PAGE_TEST, encoding="utf-8")
    fixtures = Path(pixelflow.imaging.operations.__path__[0]).parent / "conftest.py"
    shutil.copy(fixtures, tmp_path)

    tests = ["tests/unit/imaging/test_registry.py", str(tmp_path)]
    chosen = "(posterize and not page_of) or documented or tones"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "extra_operation", "-p", "no:cacheprovider", "-k", chosen, *tests],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 2 + 11 + 2 + 1, "the folder, kinds of pictures, its own tests, the page"
