"""The build context: the repository without the files excluded by .dockerignore."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path


def make_context(repository: Path, destination: Path) -> None:
    """Copy the files that Git tracks or would track and that .dockerignore includes."""
    rules = (repository / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in _files(repository):
        if is_included(rules, name):
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, target, follow_symlinks=False)  # a container engine keeps links, too


def is_included(rules: list[str], name: str) -> bool:
    """Return whether a file is part of the context: the last rule that matches it or a parent folder decides."""
    included = True
    for rule in rules:
        pattern = rule.strip()
        if pattern and not pattern.startswith("#") and _matches(pattern.removeprefix("!"), name):
            included = pattern.startswith("!")
    return included


def _matches(pattern: str, name: str) -> bool:
    """Match like .dockerignore: ``**`` matches any folders, ``*`` anything within a name."""
    expression = re.escape(pattern.strip("/")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(f"{expression}(/.*)?", name) is not None


def _files(repository: Path) -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
    paths = ((name, repository / name) for name in listed.split("\0") if name)
    return [name for name, path in paths if path.is_file() or path.is_symlink()]  # not what was deleted
