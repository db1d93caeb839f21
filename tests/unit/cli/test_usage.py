"""``pixelflow usage``: what jobs took and saved."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.unit.client.stand_in import Fault, StandIn
from typer.testing import Result

Run = Callable[..., Result]


@pytest.mark.usefixtures("api")
def test_the_sums_of_days_and_their_total_are_shown(pixelflow: Run) -> None:
    head, *rows = pixelflow("usage").stdout.splitlines()
    assert head.split() == ["Day", "Jobs", "Megapixels", "Saved", "Compute"]
    assert [row.split()[0] for row in rows] == ["2026-11-23", "2026-11-24", "Total"]
    assert rows[0].split()[1:] == ["2", "9", "007", "199", "254.7", "4.85", "MB", "68.0", "s"]


def test_days_and_user_are_asked_for(pixelflow: Run, api: StandIn) -> None:
    pixelflow("usage", "--from", "2026-11-01", "--to", "2026-12-01", "--user", "acme")
    assert api.seen[-1].path == "/v1/usage?from=2026-11-01&to=2026-12-01&user_id=acme&group_by=day"


def test_users_are_shown_from_all_pages_of_the_same_days(pixelflow: Run, api: StandIn) -> None:
    rows = pixelflow("usage", "--by", "user", "--all-users").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["User", "acme", "=zoe", "Total"]
    assert "from=2026-11-23&to=2026-11-25" in api.seen[-1].path


@pytest.mark.usefixtures("api")
def test_json_is_the_answer_as_the_api_tells_it(pixelflow: Run) -> None:
    told = json.loads(pixelflow("usage", "--by", "user", "--all-users", "--json").stdout)
    assert (told["from"], told["to"], told["next_cursor"]) == ("2026-11-23", "2026-11-25", None)
    assert [row["user_id"] for row in told["data"]] == ["acme", "=zoe"]
    assert told["total"]["pixels_processed"] == 2**53 + 1


@pytest.mark.usefixtures("api")
def test_csv_is_fit_for_a_spreadsheet(pixelflow: Run) -> None:
    lines = pixelflow("usage", "--by", "user", "--all-users", "--csv").stdout.splitlines()
    assert lines[0] == "user_id,jobs,pixels_processed,bytes_saved,compute_time_ms"
    assert [line.split(",")[0] for line in lines[1:]] == ["acme", "'=zoe"]


@pytest.mark.parametrize(
    "options", [["--json", "--csv"], ["--from", "yesterday"], ["--by", "week"]], ids=["two forms", "no day", "no group"]
)
def test_what_can_not_be_meant_ends_with_2_and_asks_nothing(pixelflow: Run, api: StandIn, options: list[str]) -> None:
    assert (pixelflow("usage", *options).exit_code, api.seen) == (2, [])


def test_a_key_that_is_no_admins_is_told_so(pixelflow: Run, api: StandIn) -> None:
    problem = {"type": "about:blank", "title": "t", "status": 403, "code": "insufficient_scope", "request_id": "r"}
    api.fail(
        "usage", Fault(403, body=json.dumps({**problem, "detail": "This request requires the scope `admin`"}).encode())
    )
    result = pixelflow("usage", "--all-users")
    assert (result.exit_code, "This request requires the scope `admin`" in result.stderr, result.stdout) == (
        4,
        True,
        "",
    )
