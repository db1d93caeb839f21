"""Builds the documentation site with Zensical: ``python -m deploy.docs_site OUTPUT_FOLDER``.

The site loads nothing from other hosts. Each page is also there as Markdown, and ``llms.txt`` lists all of them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from deploy.docs_site.pages import ROOT, llms_txt, sections, stage

FEATURES = [
    "content.code.copy",
    "navigation.footer",
    "navigation.indexes",
    "navigation.instant",
    "navigation.top",
    "navigation.tracking",
    "search.highlight",
]
PALETTE = [
    {"media": "(prefers-color-scheme: light)", "scheme": "default"},
    {"media": "(prefers-color-scheme: dark)", "scheme": "slate"},
]
EXTENSIONS: dict[str, dict[str, object]] = {
    "admonition": {},
    "attr_list": {},
    "tables": {},
    "toc": {"permalink": True},
    "pymdownx.highlight": {"pygments_lang_class": True},
    "pymdownx.inlinehilite": {},
    "pymdownx.superfences": {},
}


def main(output: Path) -> None:
    """Build the site into ``output``, which it replaces.

    Raises:
        subprocess.CalledProcessError: Zensical found a fault, such as a link that leads nowhere, and printed it.
    """
    with tempfile.TemporaryDirectory(prefix="pixelflow-site-") as folder:
        staged = Path(folder, "pages")
        staged.mkdir()
        pages = stage(staged)
        configuration = Path(folder, "zensical.toml")
        configuration.write_text(_toml(_configuration()), encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", configuration],
            check=True,
            cwd=ROOT,
        )
        _copy_missing(staged, Path(folder, "site"))
        Path(folder, "site", "llms.txt").write_text(llms_txt(), encoding="utf-8")
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(Path(folder, "site"), output)
    print(f"{len(pages)} pages in {output}: serve it with python3 -m http.server --directory {output}")


def _copy_missing(staged: Path, site: Path) -> None:
    """Copy what Zensical leaves out: the pages as Markdown, and files whose name begins with a dot."""
    for source in filter(Path.is_file, staged.rglob("*")):
        target = site / source.relative_to(staged)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def _configuration() -> dict[str, Any]:
    nav: list[dict[str, object]] = [{"Home": "README.md"}]
    nav += [{title: [{entry.title: entry.path} for entry in entries]} for title, entries in sections().items()]
    return {
        "site_name": "PixelFlow",
        "site_description": "Self-hosted, asynchronous image processing",
        "docs_dir": "pages",
        "site_dir": "site",
        "use_directory_urls": False,
        "nav": nav,
        "theme": {"variant": "classic", "font": False, "features": FEATURES, "palette": PALETTE},
        "markdown_extensions": EXTENSIONS,
    }


def _toml(project: dict[str, Any]) -> str:
    """The configuration as TOML: JSON's strings, numbers and lists are TOML's, and objects become inline tables."""
    return "[project]\n" + "".join(f"{name} = {_value(value)}\n" for name, value in project.items())


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_value(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
