"""``pixelflow usage``: totals as a table, JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.unit.client.stand_in import Fault, StandIn
from typer.testing import Result

Run = Callable[..., Result]


@pytest.mark.usefixtures("api")
def test_the_sums_of_days_with_jobs_and_their_total_are_printed(pixelflow: Run) -> None:
    head, *rows = pixelflow("usage").stdout.splitlines()
    assert head.split() == ["Day", "Jobs", "Megapixels", "Saved", "Compute"]
    assert [row.split()[0] for row in rows] == ["2026-11-23", "Total"]
    assert rows[0].split()[1:] == ["2", "9", "007", "199", "254.7", "4.85", "MB", "68.0", "s"]


@pytest.mark.usefixtures("api")
def test_days_without_jobs_are_printed_on_request(pixelflow: Run) -> None:
    rows = pixelflow("usage", "--all-days").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["2026-11-23", "2026-11-24", "Total"]


def test_days_and_user_are_query_parameters(pixelflow: Run, api: StandIn) -> None:
    pixelflow("usage", "--from", "2026-11-01", "--to", "2026-12-01", "--user", "acme")
    assert api.seen[-1].path == "/v1/usage?from=2026-11-01&to=2026-12-01&user_id=acme&group_by=day"


def test_users_of_all_pages_are_printed_for_the_same_days(pixelflow: Run, api: StandIn) -> None:
    rows = pixelflow("usage", "--by", "user", "--all-users").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["User", "acme", "=zoe", "Total"]
    assert "from=2026-11-23&to=2026-11-25" in api.seen[-1].path


@pytest.mark.usefixtures("api")
def test_json_is_the_response_as_the_api_sent_it(pixelflow: Run) -> None:
    printed = json.loads(pixelflow("usage", "--by", "user", "--all-users", "--json").stdout)
    assert (printed["from"], printed["to"], printed["next_cursor"]) == ("2026-11-23", "2026-11-25", None)
    assert [row["user_id"] for row in printed["data"]] == ["acme", "=zoe"]
    assert printed["total"]["pixels_processed"] == 2**53 + 1


@pytest.mark.usefixtures("api")
def test_csv_is_safe_for_a_spreadsheet(pixelflow: Run) -> None:
    lines = pixelflow("usage", "--by", "user", "--all-users", "--csv").stdout.splitlines()
    assert lines[0] == "user_id,jobs,pixels_processed,bytes_saved,compute_time_ms,failed_compute_time_ms"
    assert [line.split(",")[0] for line in lines[1:]] == ["acme", "'=zoe"]


@pytest.mark.parametrize(
    "options",
    [["--json", "--csv"], ["--from", "yesterday"], ["--by", "week"]],
    ids=["two formats", "invalid day", "invalid group"],
)
def test_an_invalid_command_line_exits_with_2_and_sends_nothing(
    pixelflow: Run, api: StandIn, options: list[str]
) -> None:
    assert (pixelflow("usage", *options).exit_code, api.seen) == (2, [])


def test_a_key_without_the_admin_scope_exits_with_4(pixelflow: Run, api: StandIn) -> None:
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
