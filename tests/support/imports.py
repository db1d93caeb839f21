"""Which modules of PixelFlow a module loads, read from the import statements without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pixelflow

ROOT = Path(pixelflow.__file__).parent


def module_names() -> set[str]:
    """Every module and package, such as ``pixelflow.cli.main`` and ``pixelflow.cli``."""
    paths = (path.relative_to(ROOT.parent).with_suffix("") for path in ROOT.rglob("*.py"))
    return {".".join(path.parts).removesuffix(".__init__") for path in paths}


def loaded_with(module: str) -> set[str]:
    """The module, everything that it imports, and their packages."""
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += [*_imports(name), *([name.rpartition(".")[0]] if "." in name else [])]
    return found


@cache
def _imports(module: str) -> frozenset[str]:
    path = ROOT.parent.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names = {name for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) for name in _names(node)}
    return frozenset(names & module_names())


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
