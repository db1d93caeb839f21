"""The documentation site has every page of the documentation, and one for each error code. ``make site`` builds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from deploy.docs_site.pages import INDEX, ROOT, llms_txt, sections, stage

from pixelflow.contracts.error_guide import GUIDES


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    stage(folder)
    return folder


def test_the_index_lists_every_page_of_the_documentation() -> None:
    listed = {entry.path for entries in sections().values() for entry in entries}
    pages = {
        path.relative_to(ROOT).as_posix()
        for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")]
    }
    assert pages - listed == {INDEX.relative_to(ROOT).as_posix()}


def test_every_link_of_a_page_leads_to_a_file_of_the_site(site: Path) -> None:
    missing = [
        (page.relative_to(site).as_posix(), link)
        for page in site.rglob("*.md")
        for link in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", link) and not (page.parent / link).exists()
    ]
    assert missing == []


def test_each_error_code_has_a_page(site: Path) -> None:
    assert {path.stem for path in (site / "docs" / "errors").iterdir()} == set(GUIDES)


def test_llms_txt_links_to_pages_that_are_there(site: Path) -> None:
    text = llms_txt()
    assert text.startswith("# PixelFlow\n\n> ")
    links = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): ", text, re.MULTILINE)
    assert len(links) > 40
    assert [link for link in links if not (site / link).exists()] == []
