"""The pages of the documentation site: those of the repository, at the same paths, and one for each error code.

Since paths stay, links between pages and to files of the repository hold without being rewritten.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pixelflow.contracts.error_guide import GUIDES, titles

ROOT = Path(__file__).parents[2]
SUMMARY = (
    "A self-hosted, asynchronous service that processes uploaded images. A client creates a job with a pipeline of "
    "steps, uploads the source to object storage by a presigned URL and starts the job; a worker stores the outputs, "
    "and a signed webhook tells the client."
)
INDEX = ROOT / "docs" / "README.md"
FRONT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE")
_LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
_ROW = re.compile(r"^\| \[([^\]]+)\]\(([^)]+)\) \| (.+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """A page in the index of the documentation."""

    title: str
    path: str
    """From the root of the site."""
    summary: str


def sections() -> dict[str, list[Entry]]:
    """The tables of ``docs/README.md``, by the line above each."""
    text = INDEX.read_text(encoding="utf-8")
    found = {}
    for block in re.split(r"^(?=\*\*.+\*\*$)", text, flags=re.MULTILINE)[1:]:
        title = block.splitlines()[0].strip("*")
        found[title] = [Entry(name, _from_root(path), summary) for name, path, summary in _ROW.findall(block)]
    return found


def _from_root(link: str) -> str:
    return (INDEX.parent / link).resolve().relative_to(ROOT).as_posix()


def stage(folder: Path) -> list[str]:
    """Copy the pages, and all files that they link to, into an empty folder. Return the paths of the pages.

    Raises:
        FileNotFoundError: a page links to a file that does not exist.
    """
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in FRONT:
        shutil.copy(ROOT / name, folder / name)
    for code in GUIDES:
        target = folder / "docs" / "errors" / f"{code}.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text(_error_page(code), encoding="utf-8")
    waiting = sorted(folder.rglob("*.md"))
    while waiting:
        waiting = [copied for page in waiting for copied in _copy_linked(page, folder) if copied.suffix == ".md"]
    return sorted(page.relative_to(folder).as_posix() for page in folder.rglob("*.md"))


def _copy_linked(page: Path, folder: Path) -> Iterator[Path]:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        staged = (page.parent / unquote(link)).resolve()
        source = ROOT / staged.relative_to(folder)
        if source.is_dir():
            # A link to a folder leads to its page, if it has one.
            staged, source = staged / "README.md", source / "README.md"
            if not source.exists():
                continue
        if not staged.exists():
            staged.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, staged)
            yield staged


def _error_page(code: str) -> str:
    guide = GUIDES[code]
    return (
        f"# {titles()[code]}\n\n`{code}`\n\n{guide.meaning}\n\n"
        f"## What to change\n\n{guide.change}\n\n## Retry\n\n{guide.retry}\n\n[All errors](../errors.md)\n"
    )


def llms_txt() -> str:
    """The index of the site for language models, as llmstxt.org describes it: links to the pages as Markdown."""
    lines = [
        "# PixelFlow",
        "",
        f"> {SUMMARY}",
    ]
    for title, entries in {"Start": [Entry("Read me", "README.md", "What it is, and a walk")], **sections()}.items():
        rows = [f"- [{entry.title}]({entry.path}): {_plain(entry.summary)}" for entry in entries]
        lines += ["", f"## {title}", "", *rows]
    return "\n".join(lines) + "\n"


def _plain(markdown: str) -> str:
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", markdown)
