"""The snippets of the guides and of the SDK's page are run in order, as a reader runs them, on the real service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter, ValidationError
from tests.support.ports import free_port

from pixelflow.client import Client
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.devstack.stack import Stack
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS
from pixelflow.imaging.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "docs" / "python.md", *(ROOT / "docs" / "guides").glob("*.md")])
RUN = {"python", "bash"}
KNOWN = RUN | {"json", "text", "html", "nginx", "ts", "diff"}
"""The languages of a page. Only the ones in ``RUN`` are run; JSON is checked below."""


@dataclass(frozen=True)
class Snippet:
    """A fenced block."""

    language: str
    code: str
    line: int


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(block[1], block[2], text.count("\n", 0, block.start()) + 1)
        for block in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.fixture(scope="module")
def port_of_a_shop() -> str:
    """A free port in place of the one in the guides, on which the shop of somebody else may listen."""
    return str(free_port())


@pytest.fixture
def reader(client: httpx.Client, service: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reader with a photo, a key, and the command on the PATH."""
    shutil.copy(ROOT / "examples" / "photo.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXELFLOW_API_URL", service.api_url)
    monkeypatch.setenv("PIXELFLOW_API_KEY", client.headers["Authorization"].removeprefix("Bearer "))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def namespace() -> Iterator[dict[str, Any]]:
    """The names that the snippets of a page define."""
    names: dict[str, Any] = {"__name__": "guide"}
    yield names
    for client in [each for each in names.values() if isinstance(each, Client)]:
        client.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_snippets_of_a_page_run_as_written(
    page: Path, reader: Path, namespace: dict[str, Any], port_of_a_shop: str
) -> None:
    for snippet in snippets(page):
        assert snippet.language in KNOWN, f"{page.name}:{snippet.line}"
        if snippet.language == "python":
            # Blank lines in front, so that a traceback has the line of the page.
            code = "\n" * snippet.line + snippet.code.replace("8765", port_of_a_shop)
            exec(compile(code, str(page), "exec"), namespace)  # noqa: S102
        elif snippet.language == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", snippet.code],
                cwd=reader, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{page.name}:{snippet.line}\n{done.stdout}{done.stderr}"


def test_nginx_accepts_the_configuration_of_the_shop(tmp_path: Path) -> None:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("no nginx on this machine (Debian: apt-get install nginx-light)")
    [written] = [each.code for each in snippets(ROOT / "docs" / "guides" / "shop.md") if each.language == "nginx"]
    (tmp_path / "nginx.conf").write_text(written)
    done = subprocess.run(
        [program, "-t", "-p", tmp_path, "-c", "nginx.conf", "-e", "stderr"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_json_of_a_page_is_valid(page: Path) -> None:
    for snippet in snippets(page):
        if snippet.language == "json" and snippet.code.startswith("["):
            TypeAdapter(Pipeline).validate_json(snippet.code)
        elif snippet.language == "json":
            CreateJobRequest.model_validate_json(snippet.code)


def test_the_page_of_the_sdk_names_all_calls() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    calls = [name for name in vars(Client) if not name.startswith("_")]
    assert len(calls) > 40
    assert [name for name in calls if f"`{name}`" not in page and f".{name}(" not in page] == []


def fields_of_other_tools() -> list[str]:
    """The JSON fields in the right column of the tables that translate from other tools."""
    return [
        code
        for page in PAGES
        if page.stem.startswith("from-")
        for row in re.findall(r"^\| .* \| (.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
        for code in re.findall(r"`(\"[a-z_]+\": .+?)`", row)
    ]


def accepted(body: dict[str, Any]) -> bool:
    try:
        CreateJobRequest.model_validate(body)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("fields", fields_of_other_tools())
def test_the_fields_in_a_table_are_fields_of_a_step_a_source_or_a_job(fields: str) -> None:
    given = json.loads(f"{{{fields}}}")
    resize = {"action": "resize", "width": 300, "height": 200}
    bases: list[dict[str, Any]] = [{}] if "action" in given else [resize, {**resize, "fit": "cover"}]
    formats: list[dict[str, str]] = [{}, *({"format": name} for name in OUTPUT_FORMATS)]
    steps = [{"id": "x", **base, **format_, **given} for base in bases for format_ in formats]
    bodies = [{"pipeline": [step]} for step in steps]
    others = [{"pipeline": [{"id": "x", **resize}], "source": given}, given]
    assert any(map(accepted, bodies + others))
