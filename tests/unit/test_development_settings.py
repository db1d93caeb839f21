"""Settings of editors, Git hooks and the development container agree with the tools that ``make setup`` installs."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_hooks_run_installed_tools_and_download_nothing() -> None:
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert (ROOT / hook["entry"].split()[0]).exists(), hook["entry"]


def test_pre_commit_accepts_the_configuration() -> None:
    subprocess.run([ROOT / ".venv/bin/pre-commit", "validate-config"], cwd=ROOT, check=True, timeout=300)


def test_the_development_container_has_the_oldest_python_and_runs_make_setup() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert f"python:{oldest}-" in container["image"]
    assert container["postCreateCommand"] == "make setup"


def test_editors_and_the_formatter_agree_on_the_length_of_a_line() -> None:
    settings = (ROOT / ".editorconfig").read_text(encoding="utf-8")
    assert f"max_line_length = {PROJECT['tool']['ruff']['line-length']}" in settings
