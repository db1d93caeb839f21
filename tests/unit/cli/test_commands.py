"""The command line as a whole: what it offers, what it imports, and how it starts the service's processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from pixelflow import __version__
from pixelflow.cli.exit_codes import MEANINGS, ExitCode, gravest

Run = Callable[..., Result]
SERVERS = {"DATABASE_URL", "REDIS_URL", "S3_ENDPOINT_URL", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"}
SERVER_SIDE = {"pixelflow.controlplane", "pixelflow.dataplane", "pixelflow.adapters", "pixelflow.settings", "pyvips"}


def imported_by(*arguments: str) -> set[str]:
    """Every module that a command imports, in a fresh interpreter."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIXELFLOW_")}
    environment |= {"PIXELFLOW_API_URL": "http://127.0.0.1:1", "PIXELFLOW_API_KEY": "k"}
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pixelflow", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return {line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize(
    ("arguments", "never"),
    [
        (["--help"], SERVER_SIDE | {"httpx", "pixelflow.client", "pixelflow.contracts"}),
        (["submit", __file__, "--resize", "64"], SERVER_SIDE | {"fastapi", "psycopg", "redis"}),
        (["jobs", "list"], SERVER_SIDE),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_imports_nothing_of_what_it_does_not_need(arguments: list[str], never: set[str]) -> None:
    imported = imported_by(*arguments)
    assert "pixelflow.cli.commands" in imported
    assert imported & never == set()


@pytest.mark.parametrize("command", ["submit", "jobs", "keys", "up", "demo", "api", "worker", "controller", "migrate"])
def test_every_command_explains_itself(pixelflow: Run, command: str) -> None:
    result = pixelflow(command, "--help")
    assert (result.exit_code, "Usage:" in result.stdout) == (0, True)


def test_help_tells_every_exit_code(pixelflow: Run) -> None:
    told = re.sub(r"\s+", " ", pixelflow("--help").stdout)
    for code, meaning in MEANINGS.items():
        assert f"{code.value} {meaning}" in told
    assert set(MEANINGS) == set(ExitCode)


def test_the_version_is_told(pixelflow: Run) -> None:
    assert pixelflow("--version").stdout == f"pixelflow {__version__}\n"


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["api"], SERVERS),
        (["worker"], SERVERS),
        (["controller"], SERVERS),
        (["migrate"], {"DATABASE_URL"}),
        (["keys", "create", "--user", "me"], {"DATABASE_URL"}),
        (["keys", "list", "--user", "me"], {"DATABASE_URL"}),
        (["keys", "revoke", "3f9c1b7a20de"], {"DATABASE_URL"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_without_its_settings_does_not_start_and_names_each_of_them(
    pixelflow: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str], missing: set[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("PIXELFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIXELFLOW_HOME", str(tmp_path))
    result = pixelflow(*command)
    assert (result.exit_code, result.stdout) == (78, "")
    lines = result.stderr.splitlines()
    assert {line.partition(" is not set. ")[0] for line in lines} == {f"Error: PIXELFLOW_{name}" for name in missing}
    assert len(lines) == len(missing)


def test_ctrl_c_while_it_still_imports_ends_it_with_130_and_no_traceback() -> None:
    script = """
import builtins
imported = builtins.__import__
def interrupted(name, *rest):
    if name == "typer":
        raise KeyboardInterrupt
    return imported(name, *rest)
builtins.__import__ = interrupted
from pixelflow.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], ExitCode.DONE),
        ([ExitCode.FAILED, ExitCode.TIMED_OUT], ExitCode.TIMED_OUT),
        ([ExitCode.FAILED, ExitCode.REFUSED, ExitCode.UNREACHABLE], ExitCode.UNREACHABLE),
        ([ExitCode.DONE, ExitCode.FAILED], ExitCode.FAILED),
    ],
)
def test_of_several_codes_the_gravest_speaks(codes: list[ExitCode], code: ExitCode) -> None:
    assert gravest(codes) is code
