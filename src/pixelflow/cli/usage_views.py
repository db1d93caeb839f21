"""Usage as ``pixelflow usage`` shows it."""

from __future__ import annotations

import sys
from datetime import date
from typing import Literal, TypeAlias

from rich.table import Table

from pixelflow.cli.credentials import find_session
from pixelflow.cli.failures import reported
from pixelflow.cli.output import cell, show, show_json, size, table
from pixelflow.client import Client
from pixelflow.contracts.usage import UsageByDay, UsageByUser, UsageSums, as_csv

Form: TypeAlias = Literal["table", "json", "csv"]

_SUMS = ("Jobs", "Megapixels", "Saved", "Compute")


def show_usage(
    from_day: date | None,
    to_day: date | None,
    *,
    by: Literal["day", "user"],
    user_id: str | None,
    all_users: bool,
    form: Form,
) -> None:
    """Show the sums of days or of users, and of all of them."""
    with reported(), Client(session=find_session()) as client:
        ask = _all_pages if by == "user" else Client.get_usage_by_day
        usage = ask(client, from_day=from_day, to_day=to_day, user_id=user_id, all_users=all_users)
    if form == "json":
        show_json(usage.model_dump(mode="json", by_alias=True))
    elif form == "csv":
        sys.stdout.write(as_csv(usage))
    else:
        show(_table(usage))


def _all_pages(
    client: Client, *, from_day: date | None, to_day: date | None, user_id: str | None, all_users: bool
) -> UsageByUser:
    """As one: the days of the first page hold for those behind it, also past midnight."""
    page = client.get_usage_by_user(from_day=from_day, to_day=to_day, user_id=user_id, all_users=all_users)
    rows = list(page.data)
    while page.next_cursor is not None:
        page = client.get_usage_by_user(
            from_day=page.from_day, to_day=page.to_day, all_users=all_users, cursor=page.next_cursor
        )
        rows += page.data
    return page.model_copy(update={"data": rows})


def _table(usage: UsageByDay | UsageByUser) -> Table:
    rows = table("Day" if isinstance(usage, UsageByDay) else "User", *_SUMS, right=_SUMS)
    if isinstance(usage, UsageByDay):
        for day in usage.data:
            _add(rows, day.day, day)
    else:
        for user in usage.data:
            _add(rows, user.user_id, user)
    _add(rows, "Total", usage.total, "bold")
    return rows


def _add(rows: Table, label: object, sums: UsageSums, style: str = "") -> None:
    cells = (
        f"{sums.jobs:,}".replace(",", " "),
        f"{sums.pixels_processed / 1e6:,.1f}".replace(",", " "),
        size(sums.bytes_saved),
        f"{sums.compute_time_ms / 1000:,.1f} s".replace(",", " "),
    )
    rows.add_row(cell(label, style), *(cell(text, style) for text in cells))
