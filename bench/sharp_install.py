"""Installs sharp with npm, if Node is available, into the user's cache folder, never into the project."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.cache import cache_folder

VERSION = "0.35.5"
_INSTALL_SECONDS = 180


def sharp_command(*, fetch: bool, script: Path, font: Path) -> tuple[list[str] | None, str]:
    """Return sharp's command and a sentence about it; None if sharp is not available, and the reason."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        return None, "sharp is not measured: Node is not installed."
    folder = cache_folder() / f"sharp-{VERSION}"
    if not (folder / "node_modules" / "sharp").exists():
        if npm is None or not fetch:
            return None, "sharp is not measured: it is not installed."
        if not _installed(npm, folder):
            return None, f"sharp is not measured: npm could not install sharp@{VERSION}."
    return [node, str(script), str(folder), str(font)], f"sharp {VERSION}, one thread, no cache."


def _installed(npm: str, folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    command = [npm, "install", "--no-audit", "--no-fund", "--save-exact", f"sharp@{VERSION}"]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, timeout=_INSTALL_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True
