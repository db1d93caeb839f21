"""Rules of the code base that no other tool keeps: names, sizes, who reads the environment, what a process loads."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "pixelflow"
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 400
VAGUE = {"util", "utils", "helper", "helpers", "common", "base", "manager", "managers", "misc", "tools"}


def name_of(module: Path) -> str:
    return str(module.relative_to(SOURCE))


def those(fails: Callable[[Path], object]) -> list[str]:
    """The modules that break a rule: one test reads all, since a test for each takes longer than to read it."""
    return [name_of(module) for module in MODULES if fails(module)]


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


# ── Names ────────────────────────────────────────────────────────────────────────────────────────


def test_a_module_has_a_name_that_says_something() -> None:
    assert those(lambda module: VAGUE & {*module.relative_to(SOURCE).with_suffix("").parts}) == []


def test_a_module_says_what_it_is_for() -> None:
    assert those(lambda module: not ast.get_docstring(tree(module))) == []


def test_a_module_can_be_read_in_one_sitting() -> None:
    assert those(lambda module: len(module.read_text(encoding="utf-8").splitlines()) > MAX_LINES) == []


# ── Imports ──────────────────────────────────────────────────────────────────────────────────────


def dotted(module: Path) -> str:
    parts = module.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(module: Path, known: set[str]) -> set[str]:
    """The modules of PixelFlow that a module imports anywhere, for types alone included."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                submodule if (submodule := f"{node.module}.{alias.name}") in known else node.module
                for alias in node.names
            }
    return found & known - {dotted(module)}


def test_no_module_imports_itself_through_others() -> None:
    known = {dotted(module) for module in MODULES}
    graph = {dotted(module): imports_of(module, known) for module in MODULES}
    assert "pixelflow.contracts.jobs.requests" in graph["pixelflow.controlplane.jobs.service"]
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_public_classes_have_different_names() -> None:
    classes: dict[str, list[str]] = {}
    for module in MODULES:
        for node in tree(module).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes.setdefault(node.name, []).append(name_of(module))
    assert {name: modules for name, modules in classes.items() if len(modules) > 1} == {}


# ── The environment ──────────────────────────────────────────────────────────────────────────────

READERS_OF_THE_ENVIRONMENT = {
    "adapters/readiness.py": "the supervisor's address",
    "settings/__init__.py": "the service's",
    "settings/model.py": "the service's",
    "settings/database.py": "the service's",
    "client/session.py": "where the API is, for the SDK",
    "client/local_session.py": "where the API is, for the SDK",
    "cli/credentials.py": "where the API is, for the command line",
    "local_home.py": "where the operating system keeps data",
    "devstack/stack.py": "handed on to what it starts",
    "devstack/launcher.py": "passed on to the program that it executes",
    "adapters/telemetry/trace_settings.py": "libraries' own: OpenTelemetry's standard variables",
    "adapters/telemetry/span_export.py": "libraries' own: OpenTelemetry's standard variables",
    "controlplane/controller/main.py": "libraries' own: the C library's resolver",
    "dataplane/worker/main.py": "libraries' own: the C library's resolver",
    "imaging/runtime.py": "libraries' own: fontconfig, libvips",
}


def test_only_these_modules_touch_the_environment() -> None:
    touch = re.compile(r"\bos\.environ|\bos\.getenv|\bBaseSettings\b")
    assert set(those(lambda module: touch.search(module.read_text(encoding="utf-8")))) <= set(
        READERS_OF_THE_ENVIRONMENT
    )


# ── What a process loads ─────────────────────────────────────────────────────────────────────────


@cache
def loaded_by(module: str) -> frozenset[str]:
    """Names of the modules that are loaded once ``module`` is, in an interpreter of its own."""
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=300)
    return frozenset(done.stdout.split())


PROCESSES = [
    "pixelflow.controlplane.api.main",
    "pixelflow.controlplane.controller.main",
    "pixelflow.dataplane.worker.main",
]


@pytest.mark.parametrize("module", PROCESSES)
def test_traces_are_loaded_only_where_they_are_wanted(module: str) -> None:
    assert not {"opentelemetry.sdk.trace", "opentelemetry.exporter"} & loaded_by(module)


@pytest.mark.parametrize("module", PROCESSES)
def test_no_process_loads_botocore(module: str) -> None:
    """It takes 8 MB of memory and 45 ms."""
    assert find_spec("botocore")  # the name is right
    assert "botocore" not in loaded_by(module)


@pytest.mark.parametrize("module", ["pixelflow.controlplane.api.main", "pixelflow.controlplane.controller.main"])
def test_the_control_plane_never_loads_libvips(module: str) -> None:
    assert "pyvips" not in loaded_by(module)


def test_the_worker_itself_never_loads_libvips() -> None:
    assert "pyvips" not in loaded_by("pixelflow.dataplane.worker.main")


def test_the_process_that_decodes_pictures_loads_nothing_that_reaches_a_server() -> None:
    loaded = loaded_by("pixelflow.dataplane.child.main, pixelflow.imaging.engine")
    assert "pyvips" in loaded
    servers = {"psycopg", "psycopg_pool", "redis", "obstore", "httpx", "pydantic_settings"}
    assert not loaded & servers


def test_the_client_loads_nothing_of_the_service() -> None:
    service = {"psycopg", "redis", "obstore", "fastapi", "pyvips", "pydantic_settings"}
    assert not loaded_by("pixelflow.client") & service
