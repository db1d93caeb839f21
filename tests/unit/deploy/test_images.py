"""The Dockerfiles: clean by hadolint, pinned, unprivileged; and how ``tests.images`` reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.images.context import is_included
from tests.images.dockerfile import Stage, read

from pixelflow.settings import PREFIX, Settings

ROOT = Path(__file__).parents[3]
DOCKERFILES = [ROOT / "deploy" / "docker" / f"Dockerfile.{name}" for name in ("api", "worker")]
ANSWERS = ROOT / "deploy" / "docker" / "answers"

each_file = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def final(path: Path) -> Stage:
    return read(path)[-1]


# ── Dockerfiles ──────────────────────────────────────────────────────────────────────────────────


@each_file
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in path.read_text(encoding="utf-8")


def test_all_stages_of_all_images_start_from_one_pinned_python() -> None:
    (base,) = {stage.base for path in DOCKERFILES for stage in read(path)}
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", base)


@each_file
def test_an_image_runs_as_an_ordinary_user_by_number(path: Path) -> None:
    assert re.fullmatch(r"[1-9]\d{4}:[1-9]\d{4}", final(path).last("USER").text)


@each_file
def test_signals_reach_the_process_itself(path: Path) -> None:
    stage = final(path)
    assert stage.last("ENTRYPOINT").json == ["pixelflow"]
    assert stage.last("CMD").json in (["api"], ["worker"])
    assert stage.last("STOPSIGNAL").text == "SIGTERM"


@each_file
def test_nothing_is_installed_in_an_image_that_was_not_built_before(path: Path) -> None:
    for instruction in final(path).all("RUN"):
        assert not re.search(r"\b(pip|apt-get|curl|wget)\b", instruction.text)


@each_file
def test_every_package_comes_by_its_hash(path: Path) -> None:
    code = " ".join(instruction.text for instruction in read(path)[0].all("RUN"))
    fetching = [command for command in re.split("&&", code) if "--requirement" in command]
    assert len(fetching) == 2
    assert all("--require-hashes" in command and "--no-deps" in command for command in fetching)


@each_file
def test_every_variable_of_an_image_is_a_setting(path: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(rf"{PREFIX}[A-Z0-9_]+", path.read_text(encoding="utf-8"))) <= known


@each_file
def test_an_image_says_what_it_is(path: Path) -> None:
    labels = " ".join(instruction.text for instruction in final(path).all("LABEL"))
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels


# ── The context ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "included"),
    [
        ("src/pixelflow/settings/model.py", True),
        ("src/pixelflow/imaging/fonts/fonts.conf", True),
        ("requirements/api.txt", True),
        ("pyproject.toml", True),
        ("deploy/docker/answers", True),
        (".env", False),
        ("pixelflow.env", False),
        (".git/config", False),
        (".venv/bin/python", False),
        ("tests/conftest.py", False),
        ("src/pixelflow/__pycache__/settings.cpython-313.pyc", False),
    ],
)
def test_the_build_sees_what_it_needs_and_no_secret(name: str, *, included: bool) -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert is_included(rules, name) is included


# ── Read ─────────────────────────────────────────────────────────────────────────────────────────


def test_lines_are_joined_and_comments_left_out(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("# said\nFROM a AS b\nRUN one \\\n# within\n    && two\nFROM c\nUSER 7:7\n")
    built, last = read(tmp_path / "Dockerfile")
    assert (built.base, built.name, [each.text for each in built.instructions]) == ("a", "b", ["one  && two"])
    assert (last.base, last.name, last.last("USER").text) == ("c", "", "7:7")


@pytest.mark.parametrize("line", ["ADD a b", 'SHELL ["/bin/bash"]', "ONBUILD RUN true"])
def test_what_is_not_understood_is_not_skipped(tmp_path: Path, line: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM a\n{line}\n")
    with pytest.raises(ValueError, match="unsupported"):
        read(tmp_path / "Dockerfile")


# ── The health check ─────────────────────────────────────────────────────────────────────────────


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _asks(environment: dict[str, str], *arguments: str) -> int:
    python = shutil.which("python3")
    assert python
    return subprocess.run([python, ANSWERS, *arguments], env=environment, capture_output=True, check=False).returncode


def test_the_health_check_asks_the_port_that_is_set_and_minds_the_answer() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Answering)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    port = str(server.server_port)
    try:
        assert _asks({}, "SOME_PORT", port, "/healthz") == 0
        assert _asks({"SOME_PORT": port}, "SOME_PORT", "1", "/healthz") == 0
        assert _asks({}, "SOME_PORT", port, "/broken") == 1
    finally:
        server.shutdown()
        server.server_close()
    assert _asks({}, "SOME_PORT", port, "/healthz") == 1
