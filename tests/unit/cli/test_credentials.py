"""Where the command line finds the API address and key."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.client.stand_in import KEY, StandIn
from typer.testing import Result

from pixelflow.client import Client, ConfigurationError, ConnectionFailedError

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, api: StandIn) -> None:  # noqa: ARG001 - sets the variables that are removed here
    for name in [name for name in os.environ if name.startswith("PIXELFLOW_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The credentials file in the home of a running stack: its lock is held."""
    monkeypatch.setenv("PIXELFLOW_HOME", str(tmp_path))
    with (tmp_path / "lock").open("w") as lock:
        lock.write("1")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield tmp_path / "credentials.json"


def test_the_home_of_the_stack_provides_both(pixelflow: Run, api: StandIn, home: Path) -> None:
    home.write_text(json.dumps({"api_url": api.url, "api_key": KEY}))
    assert pixelflow("jobs", "list").exit_code == 0
    assert api.count("GET") == 1


@pytest.mark.parametrize("left", ["", "4711", None], ids=["stopped", "killed", "no lock"])
def test_the_key_of_a_stack_that_is_not_running_is_not_sent(
    pixelflow: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: str | None
) -> None:
    home = tmp_path / "a home"
    home.mkdir()
    monkeypatch.setenv("PIXELFLOW_HOME", str(home))
    (home / "credentials.json").write_text(json.dumps({"api_url": api.url, "api_key": KEY}))
    if left is not None:
        (home / "lock").write_text(left)
    result = pixelflow("jobs", "list")
    assert (result.exit_code, api.seen) == (3, [])
    assert f"PixelFlow is not running in {home}. Start it with `pixelflow up --home '{home}'`" in result.stderr


def test_the_environment_takes_precedence_over_the_home(
    pixelflow: Run, api: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_text(json.dumps({"api_url": "http://127.0.0.1:1", "api_key": "other"}))
    monkeypatch.setenv("PIXELFLOW_API_URL", api.url)
    monkeypatch.setenv("PIXELFLOW_API_KEY", KEY)
    assert pixelflow("jobs", "list").exit_code == 0


@pytest.mark.parametrize("given", ["PIXELFLOW_API_URL", "PIXELFLOW_API_KEY"])
def test_a_key_is_never_sent_to_an_address_that_it_was_not_issued_for(
    *, pixelflow: Run, api: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    home.write_text(json.dumps({"api_url": api.url, "api_key": KEY}))
    monkeypatch.setenv(given, {"PIXELFLOW_API_URL": api.url, "PIXELFLOW_API_KEY": KEY}[given])
    result = pixelflow("jobs", "list")
    assert (result.exit_code, api.seen) == (78, [])
    (missing,) = {"PIXELFLOW_API_URL", "PIXELFLOW_API_KEY"} - {given}
    assert f"Only {given} is set. Set {missing} too" in result.stderr


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"api_url": "http://x"}', '{"api_url": "x", "api_key": "k"}', "{" * 100]
)
def test_an_invalid_credentials_file_is_named(pixelflow: Run, home: Path, content: str) -> None:
    home.write_text(content)
    result = pixelflow("jobs", "list")
    assert result.exit_code == 78
    assert str(home) in result.stderr or "must be an http" in result.stderr


def test_without_credentials_the_error_names_both_sources(pixelflow: Run, home: Path) -> None:
    result = pixelflow("jobs", "list")
    assert result.exit_code == 78
    for way in ("PIXELFLOW_API_URL", "PIXELFLOW_API_KEY", "pixelflow up", str(home)):
        assert way in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_sdk_finds_the_home_too(api: StandIn, home: Path) -> None:
    home.write_text(json.dumps({"api_url": api.url, "api_key": KEY}))
    with Client() as client:
        client.list_jobs()
    assert api.count("GET") == 1


def test_the_sdk_gives_the_key_of_the_home_to_no_other_address(home: Path) -> None:
    home.write_text(json.dumps({"api_url": "http://127.0.0.1:1", "api_key": KEY}))
    with pytest.raises(ConfigurationError, match="PIXELFLOW_API_KEY"):
        Client("http://127.0.0.1:2")


def test_the_sdk_says_that_the_stack_of_the_home_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIXELFLOW_HOME", str(tmp_path))
    (tmp_path / "credentials.json").write_text(json.dumps({"api_url": "http://127.0.0.1:1", "api_key": KEY}))
    with pytest.raises(ConnectionFailedError, match="pixelflow up"):
        Client()
