"""Rules of the code base that no other tool keeps: names, sizes, who reads the environment, what a process loads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "pixelflow"
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 300
VAGUE = {"util", "utils", "helper", "helpers", "common", "base", "manager", "managers", "misc", "tools"}


def name_of(module: Path) -> str:
    return str(module.relative_to(SOURCE))


each_module = pytest.mark.parametrize("module", MODULES, ids=name_of)


def tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


# ── Names ────────────────────────────────────────────────────────────────────────────────────────


def unused_words() -> list[str]:
    """Single words that the glossary says are not used, where the word can't mean anything else in code."""
    rows = re.findall(r"^\| \*\*.+?\*\* \| .+? \| (.*) \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    words = {word.strip() for row in rows for word in row.split(",")}
    return sorted(word for word in words if word and " " not in word)


# Which of those words may stand in code all the same, and for what.
AMBIGUOUS = {
    "acquire": "semaphores are acquired",
    "original": "an adjective",
    "filter": "seccomp's",
    "input": "libraries' word",
    "execution": "of programs",
    "account": "of the operating system",
    "service": "the whole of PixelFlow",
    "phase": "an English word",
}


def identifiers(module: Path) -> Iterator[str]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def words(identifier: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier)
    return {word for part in spaced.lower().split("_") for word in (part, part.removesuffix("s"))}


def test_the_glossary_names_words_to_look_for() -> None:
    assert {"tenant", "reaper", "variant"} <= set(unused_words())
    assert set(AMBIGUOUS) <= set(unused_words())


@each_module
def test_identifiers_use_the_words_of_the_glossary(module: Path) -> None:
    unused = set(unused_words()) - set(AMBIGUOUS)
    assert {name: found for name in identifiers(module) if (found := words(name) & unused)} == {}


@each_module
def test_a_module_has_a_name_that_says_something(module: Path) -> None:
    assert not VAGUE & {*module.relative_to(SOURCE).with_suffix("").parts}


@each_module
def test_a_module_says_what_it_is_for(module: Path) -> None:
    assert module.name == "py.typed" or ast.get_docstring(tree(module))


@each_module
def test_a_module_can_be_read_in_one_sitting(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


# ── The environment ──────────────────────────────────────────────────────────────────────────────

READERS_OF_THE_ENVIRONMENT = {
    "settings.py": "the service's",
    "client/session.py": "where the API is, for the SDK",
    "cli/credentials.py": "where the API is, for the command line",
    "devstack/home.py": "where the operating system keeps data",
    "devstack/stack.py": "handed on to what it starts",
    "devstack/launcher.py": "handed on to what it becomes",
    "adapters/telemetry/trace_settings.py": "libraries' own: OpenTelemetry's standard variables",
    "adapters/telemetry/otel.py": "libraries' own: OpenTelemetry's standard variables",
    "controlplane/controller/run.py": "libraries' own: the C library's resolver",
    "dataplane/imaging/runtime.py": "libraries' own: fontconfig, libvips",
}


@each_module
def test_only_these_modules_touch_the_environment(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    touches = re.search(r"\bos\.environ|\bos\.getenv|\bBaseSettings\b", text) is not None
    assert not touches or name_of(module) in READERS_OF_THE_ENVIRONMENT


# ── What a process loads ─────────────────────────────────────────────────────────────────────────


def loaded_by(module: str) -> set[str]:
    """Names of the modules that are loaded once ``module`` is, in an interpreter of its own."""
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


PROCESSES = [
    "pixelflow.controlplane.api.serve",
    "pixelflow.controlplane.controller.run",
    "pixelflow.dataplane.worker",
]


@pytest.mark.parametrize("module", PROCESSES)
def test_traces_are_loaded_only_where_they_are_wanted(module: str) -> None:
    assert not {"opentelemetry.sdk.trace", "opentelemetry.exporter"} & loaded_by(module)


@pytest.mark.parametrize("module", ["pixelflow.controlplane.api.serve", "pixelflow.controlplane.controller.run"])
def test_the_control_plane_never_loads_libvips(module: str) -> None:
    assert "pyvips" not in loaded_by(module)


def test_the_worker_itself_never_loads_libvips() -> None:
    assert "pyvips" not in loaded_by("pixelflow.dataplane.worker")


def test_the_process_that_decodes_pictures_loads_nothing_that_reaches_a_server() -> None:
    loaded = loaded_by("pixelflow.dataplane.child, pixelflow.dataplane.imaging")
    assert "pyvips" in loaded
    servers = {"psycopg", "psycopg_pool", "redis", "dramatiq", "obstore", "botocore", "httpx", "pydantic_settings"}
    assert not loaded & servers


def test_the_client_loads_nothing_of_the_service() -> None:
    service = {"psycopg", "redis", "dramatiq", "obstore", "botocore", "fastapi", "pyvips", "pydantic_settings"}
    assert not loaded_by("pixelflow.client") & service
