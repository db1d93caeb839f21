"""``pixelflow usage``: shows what jobs processed, saved and cost."""

from __future__ import annotations

import sys
from datetime import date, datetime
from typing import Annotated, Literal

import typer
from rich.table import Table

from pixelflow.cli.credentials import find_session
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.output import cell, format_size, print_json, print_table, table
from pixelflow.client import Client
from pixelflow.contracts.usage import UsageByDay, UsageByUser, UsageSums, as_csv

_SUMS = ("Jobs", "Megapixels", "Saved", "Compute")


def _parse_day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no time zone
    except ValueError:
        raise typer.BadParameter("must be a date such as 2030-01-31") from None


def usage(
    *,
    from_: Annotated[
        date | None,
        typer.Option(
            "--from",
            parser=_parse_day,
            metavar="YYYY-MM-DD",
            help="First day, in UTC.",
            show_default="30 days before --to",
        ),
    ] = None,
    to: Annotated[
        date | None,
        typer.Option(parser=_parse_day, metavar="YYYY-MM-DD", help="Day after the last one.", show_default="tomorrow"),
    ] = None,
    by: Annotated[Literal["day", "user"], typer.Option(help="Group the totals by day or by user.")] = "day",
    user: Annotated[
        str | None,
        typer.Option(
            metavar="USER_ID", help="Show another user's usage. Requires the scope `admin`.", show_default="your own"
        ),
    ] = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="Show the usage of all users. Requires the scope `admin`.")
    ] = False,
    all_days: Annotated[bool, typer.Option("--all-days", help="Show days without jobs too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")] = False,
    as_csv_: Annotated[bool, typer.Option("--csv", help="Print CSV with a header and no total to stdout.")] = False,
) -> None:
    """Show usage totals by day or by user."""
    if as_json and as_csv_:
        raise typer.BadParameter("--json and --csv can't be combined")
    with exit_on_error(), Client(session=find_session()) as client:
        get = _get_all_users if by == "user" else Client.get_usage_by_day
        found = get(client, from_day=from_, to_day=to, user_id=user, all_users=all_users)
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True))
    elif as_csv_:
        sys.stdout.write(as_csv(found))
    else:
        print_table(_usage_table(found, all_days=all_days))


def _get_all_users(
    client: Client, *, from_day: date | None, to_day: date | None, user_id: str | None, all_users: bool
) -> UsageByUser:
    """Return all pages as one. Later pages ask for the days of the first, so that midnight does not shift them."""
    page = client.get_usage_by_user(from_day=from_day, to_day=to_day, user_id=user_id, all_users=all_users)
    rows = list(page.data)
    while page.next_cursor is not None:
        page = client.get_usage_by_user(
            from_day=page.from_day, to_day=page.to_day, all_users=all_users, cursor=page.next_cursor
        )
        rows += page.data
    return page.model_copy(update={"data": rows})


def _usage_table(found: UsageByDay | UsageByUser, *, all_days: bool) -> Table:
    rows = table("Day" if isinstance(found, UsageByDay) else "User", *_SUMS, right=_SUMS)
    if isinstance(found, UsageByDay):
        for day in found.data:
            if day.jobs or all_days:
                _add_row(rows, day.day, day)
    else:
        for user in found.data:
            _add_row(rows, user.user_id, user)
    _add_row(rows, "Total", found.total, "bold")
    return rows


def _add_row(rows: Table, label: object, sums: UsageSums, style: str = "") -> None:
    cells = (
        f"{sums.jobs:,}".replace(",", " "),
        f"{sums.pixels_processed / 1e6:,.1f}".replace(",", " "),
        format_size(sums.bytes_saved),
        f"{sums.compute_time_ms / 1000:,.1f} s".replace(",", " "),
    )
    rows.add_row(cell(label, style), *(cell(text, style) for text in cells))
