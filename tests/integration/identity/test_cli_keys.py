"""``pixelflow keys`` on a real database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.acceptance.running import wait_for
from typer.testing import CliRunner, Result

from pixelflow.cli.app import build_app
from pixelflow.contracts.keys import DEFAULT_SCOPES, Scope
from pixelflow.devstack.stack import Stack

Run = Callable[..., Result]


TERMINAL = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


@pytest.fixture
def pixelflow(stack: Stack) -> Run:
    """Run ``pixelflow`` with the database URL as its only setting."""
    environment = {"PIXELFLOW_DATABASE_URL": stack.environment["PIXELFLOW_DATABASE_URL"], **TERMINAL}
    return lambda *arguments: CliRunner().invoke(build_app(), arguments, env=environment)


def listed(pixelflow: Run, user_id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(pixelflow("keys", "list", "--user", user_id, "--json").stdout)
    return rows


def test_a_key_is_created_listed_and_revoked(service: Stack, pixelflow: Run, user_id: str) -> None:
    created = pixelflow(
        *(
            "keys",
            "create",
            "--user",
            user_id,
            "--name",
            "shop",
            "--scopes",
            "jobs:read,jobs:write",
            "--expires-in",
            "90d",
        )
    )
    assert created.exit_code == 0
    key = created.stdout.strip()
    [row] = listed(pixelflow, user_id)
    assert (row["name"], row["scopes"]) == ("shop", ["jobs:read", "jobs:write"])
    left = datetime.fromisoformat(row["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)
    assert "active until" in pixelflow("keys", "list", "--user", user_id).stdout

    def status() -> int:
        return httpx.get(f"{service.api_url}/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code

    assert status() == 200
    revoked = pixelflow("keys", "revoke", row["key_id"])
    assert (revoked.exit_code, user_id in revoked.stderr) == (0, True)
    wait_for(lambda: status() == 401, 2)
    assert "revoked" in pixelflow("keys", "list", "--user", user_id).stdout


def test_the_database_of_a_local_stack_is_found_through_its_home(stack: Stack, pixelflow: Run, user_id: str) -> None:
    at_home = {"PIXELFLOW_DATABASE_URL": None, "PIXELFLOW_HOME": str(stack.home.path), **TERMINAL}
    created = CliRunner().invoke(build_app(), ["keys", "create", "--user", user_id], env=at_home)
    assert (created.exit_code, created.stdout.startswith("pf_")) == (0, True)
    assert [row["name"] for row in listed(pixelflow, user_id)] == ["cli"]


def test_the_database_of_a_stack_that_is_not_running_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text('{"postgres": "secret"}')
    at_home = {"PIXELFLOW_DATABASE_URL": None, "PIXELFLOW_HOME": str(tmp_path), **TERMINAL}
    result = CliRunner().invoke(build_app(), ["keys", "list", "--user", "me"], env=at_home)
    assert (result.exit_code, "is not running" in result.stderr) == (3, True)


def test_the_default_scopes_are_all_but_admin(pixelflow: Run, user_id: str) -> None:
    pixelflow("keys", "create", "--user", user_id)
    [row] = listed(pixelflow, user_id)
    assert {*row["scopes"]} == {*DEFAULT_SCOPES}


def test_a_key_can_have_its_own_rate_limit(service: Stack, pixelflow: Run, user_id: str) -> None:
    pixelflow("keys", "create", "--user", user_id, "--name", "usual")
    key = pixelflow("keys", "create", "--user", user_id, "--name", "own", "--rate-limit", "600").stdout.strip()
    limits = {row["name"]: row["rate_limit"] for row in listed(pixelflow, user_id)}
    assert limits == {"usual": None, "own": 600}
    assert " 600 " in pixelflow("keys", "list", "--user", user_id).stdout
    answer = httpx.get(f"{service.api_url}/v1/keys", headers={"Authorization": f"Bearer {key}"}).json()["data"]
    assert {row["name"]: row["rate_limit"] for row in answer} == limits


def test_the_help_names_every_scope(pixelflow: Run) -> None:
    text = pixelflow("keys", "create", "--help").stdout
    assert all(scope in text for scope in Scope)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["create", "--user", "u", "--scopes", "jobs:reed"], 2, "jobs:reed"),
        (["create", "--user", "u", "--scopes", ""], 2, "one or more of"),
        (["create", "--user", "u", "--expires-in", "soon"], 2, "90d"),
        (["create", "--user", "u", "--expires-in", "0d"], 2, "90d"),
        (["create", "--user", "u", "--rate-limit", "0"], 2, "--rate-limit"),
        (["create", "--user", ""], 1, "printable"),
        (["create", "--user", "u" * 256], 1, "printable"),
        (["create", "--user", "u", "--name", "\x1b[2J"], 1, "must not contain control characters"),
        (["revoke", "no-such-key"], 1, "No key has this ID"),
    ],
    ids=str,
)
def test_an_invalid_request_is_reported(pixelflow: Run, arguments: list[str], exit_code: int, message: str) -> None:
    result = pixelflow("keys", *arguments)
    assert (result.exit_code, message in result.stderr) == (exit_code, True)
    assert "Traceback" not in result.output


# ── pixelflow users ──────────────────────────────────────────────────────────────────────────────


def test_a_share_is_set_reset_and_listed(pixelflow: Run, user_id: str) -> None:
    def share() -> dict[str, Any]:
        (row,) = (row for row in json.loads(pixelflow("users", "list", "--json").stdout) if row["user_id"] == user_id)
        found: dict[str, Any] = row
        return found

    assert pixelflow("users", "set", user_id, "--weight", "2.5", "--max-active", "3").exit_code == 0
    assert share() == {"user_id": user_id, "weight": 2.5, "max_active": 3, "waiting": 0, "active": 0}
    assert "2.5" in pixelflow("users", "list").stdout
    assert pixelflow("users", "set", user_id).exit_code == 0
    assert (share()["weight"], share()["max_active"]) == (1, None)


@pytest.mark.parametrize("arguments", [["--weight", "0"], ["--max-active", "0"]])
def test_a_share_out_of_range_is_rejected(pixelflow: Run, user_id: str, arguments: list[str]) -> None:
    assert pixelflow("users", "set", user_id, *arguments).exit_code == 2
