"""The command line as a whole: the commands, their help, what each imports, exit codes and missing settings."""

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
from pixelflow.cli.app import COMMANDS, load_command
from pixelflow.cli.exit_codes import MEANINGS, ExitCode, worst

Run = Callable[..., Result]
SERVERS = {"DATABASE_URL", "REDIS_URL", "S3_ENDPOINT_URL", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"}
SERVER_SIDE = {"pixelflow.controlplane", "pixelflow.dataplane", "pixelflow.adapters", "pixelflow.settings", "pyvips"}
PROCESSES = {"fastapi", "pyvips", "pixelflow.dataplane"}


def imported_by(*arguments: str) -> set[str]:
    """Every module that a command imports, in a new interpreter."""
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
        (["--help"], SERVER_SIDE | {"httpx", "pydantic", "pixelflow.client", "pixelflow.contracts", "rich.progress"}),
        (["no-such-command"], SERVER_SIDE | {"httpx", "pixelflow.client", "pixelflow.contracts"}),
        (["submit", __file__, "--resize", "64"], SERVER_SIDE | {"fastapi", "psycopg", "redis"}),
        (["jobs", "list"], SERVER_SIDE),
        (["keys", "--help"], PROCESSES),
        (["api", "--help"], PROCESSES),
        (["worker", "--help"], PROCESSES),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], never: set[str]) -> None:
    imported = imported_by(*arguments)
    assert "pixelflow.cli.app" in imported
    assert imported & never == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_page(pixelflow: Run, command: str) -> None:
    result = pixelflow(command, "--help")
    assert (result.exit_code, "Usage:" in result.stdout) == (0, True)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_summary_in_the_list_of_commands_is_the_first_line_of_the_commands_help(command: str) -> None:
    assert (load_command(command).help or "").splitlines()[0] == COMMANDS[command].summary


def test_the_root_help_lists_every_command(pixelflow: Run) -> None:
    lines = pixelflow("--help").stdout.splitlines()
    assert [name for name in COMMANDS if not any(re.match(rf"│ {name} ", line) for line in lines)] == []


def test_a_mistyped_command_exits_with_2_and_a_suggestion(pixelflow: Run) -> None:
    result = pixelflow("job")
    assert (result.exit_code, "Did you mean 'jobs'?" in result.stderr) == (2, True)


def test_help_lists_every_exit_code(pixelflow: Run) -> None:
    text = re.sub(r"\s+", " ", pixelflow("--help").stdout)
    for code, meaning in MEANINGS.items():
        assert f"{code.value} {meaning}" in text
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize(
    ("command", "present"),
    [
        (["jobs", "list"], True),
        (["submit"], True),
        (["worker"], False),
        (["migrate"], False),
        (["keys", "list"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_help_of_a_command_lists_its_own_exit_codes(pixelflow: Run, command: list[str], present: bool) -> None:
    text = re.sub(r"\s+", " ", pixelflow(*command, "--help").stdout)
    assert "Exit codes: 0 success; 1 " in text
    assert (MEANINGS[ExitCode.REFUSED] in text) is present


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jobs", "show", "abc"], "must be a UUID"),
        (["submit", __file__, "--format", "bmp"], "must be `avif`, `gif`, `jpeg`, `jxl`, `png`, `tiff` or `webp`"),
        (["submit", __file__, "--quality", "900"], "must be at most 100"),
        (["submit", __file__, "--timeout", "long"], "must be a number"),
        (["up", "--api-port", "99999"], "must be at most 65535"),
        (["keys", "create", "--user", "me", "--rate-limit", "all"], "must be an integer"),
        (["usage", "--from", "yesterday"], "must be a date such as 2030-01-31"),
        (["usage", "--by", "week"], "must be `day` or `user`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_value_is_described_in_the_words_of_the_api(
    pixelflow: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = pixelflow(*arguments)
    assert (result.exit_code, message in result.stderr) == (2, True)
    assert not re.search(r"Input|Value error|is not one of", result.stderr)


def test_version_prints_the_version(pixelflow: Run) -> None:
    assert pixelflow("--version").stdout == f"pixelflow {__version__}\n"


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["api"], SERVERS | {"SECRETS_KEY"}),
        (["worker"], SERVERS),
        (["controller"], SERVERS | {"SECRETS_KEY"}),
        (["migrate"], {"DATABASE_URL"}),
        (["keys", "create", "--user", "me"], {"DATABASE_URL"}),
        (["keys", "list", "--user", "me"], {"DATABASE_URL"}),
        (["keys", "revoke", "3f9c1b7a20de"], {"DATABASE_URL"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_without_its_settings_exits_with_78_and_names_each_of_them(
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


def test_a_command_of_the_service_says_which_extra_a_plain_installation_lacks() -> None:
    script = """
import sys
from typer.testing import CliRunner
from pixelflow.cli.app import build_app
sys.modules.update(dict.fromkeys(
    ["redis", "obstore", "psycopg", "pydantic_settings", "structlog", "fastapi", "uvicorn", "cryptography", "pyvips",
     "standardwebhooks", "PIL", "prometheus_client"]
))
for line in sys.stdin.read().splitlines():
    done = CliRunner().invoke(build_app(), line.split())
    print(line, done.exit_code, type(done.exception).__name__, done.stderr.strip(), sep="|")
"""
    extras = {
        "up": "devstack", "api": "api", "controller": "api", "migrate": "api", "worker": "worker",
        "keys list": "api", "secrets rotate": "api", "users list": "api",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script], input="\n".join(extras), capture_output=True, text=True, check=True
    )
    for line in done.stdout.splitlines():
        command, code, exception, message = line.split("|")
        assert (code, exception) == ("78", "SystemExit"), line
        assert re.fullmatch(
            rf"Error: This command needs the package \w+: pip install 'pixelflow-server\[{extras.pop(command)}\]'",
            message,
        )
    assert not extras


def test_a_command_of_the_service_names_the_distribution_that_the_client_alone_lacks() -> None:
    script = """
import sys
from pixelflow.cli.app import build_app
sys.modules.update(dict.fromkeys(["pixelflow.settings", "pixelflow.devstack", "pixelflow.dataplane"]))
build_app()(["up"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    message = "Error: This command needs a part of the service: pip install 'pixelflow-server[devstack]'\n"
    assert (done.returncode, done.stderr) == (78, message)


def test_the_sdk_without_the_command_line_names_the_extra() -> None:
    script = """
import sys
sys.modules["typer"] = None
from pixelflow.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    message = "Error: The command line needs the package typer: pip install 'pixelflow-client[cli]'\n"
    assert (done.returncode, done.stderr) == (78, message)


def test_ctrl_c_during_imports_exits_with_130_and_no_traceback() -> None:
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
        ([], ExitCode.SUCCESS),
        ([ExitCode.FAILED, ExitCode.TIMED_OUT], ExitCode.TIMED_OUT),
        ([ExitCode.FAILED, ExitCode.REFUSED, ExitCode.UNREACHABLE], ExitCode.UNREACHABLE),
        ([ExitCode.SUCCESS, ExitCode.FAILED], ExitCode.FAILED),
    ],
)
def test_several_exit_codes_become_the_worst_one(codes: list[ExitCode], code: ExitCode) -> None:
    assert worst(codes) is code


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["submitt", "p.jpg"], "Did you mean 'submit'?"),
        (["submit", __file__, "--size", "100"], "--resize"),
        (["submit", __file__, "--resize", "64", "--format", "JPG"], "did you mean `jpeg`?"),
        (["submit", __file__, "--resize", "64", "--priority", "urgent"], "did you mean `high`?"),
        (["submit", __file__, "--resize", "big"], "must be a width such as 640 or a box such as 640x480"),
        (["submit", __file__, "--resize", "64", "--quality", "high"], "must be an integer"),
        (["submit", __file__, "--resize", "64", "--metadata", "x"], "must be KEY=VALUE, such as sku=A-17"),
        (["submit", __file__, "--pipeline", __file__], "is not valid JSON from line 1, column "),
        (["jobs", "list", "--status", "done"], "did you mean `succeeded`?"),
        (["jobs", "show", "abc"], "must be a UUID"),
        (["usage", "--from", "yesterday"], "must be a date such as 2030-01-31"),
        (["up", "--port", "8080"], "--api-port"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_a_mistake_on_the_command_line_says_what_to_change(
    pixelflow: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("PIXELFLOW_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PIXELFLOW_API_KEY", "pf_a")
    result = pixelflow(*arguments)
    assert result.exit_code == ExitCode.USAGE
    assert expected in result.output
    assert not any(part in result.output for part in ("Input should", "Expecting", "[type=", "Traceback"))
