"""``pixelflow usage``: what jobs took and saved."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import typer

_DAY = ["%Y-%m-%d"]


def usage(
    *,
    from_: Annotated[
        datetime | None,
        typer.Option(
            "--from",
            formats=_DAY,
            metavar="YYYY-MM-DD",
            help="The first day, of UTC.",
            show_default="30 days before --to",
        ),
    ] = None,
    to: Annotated[
        datetime | None,
        typer.Option(formats=_DAY, metavar="YYYY-MM-DD", help="The day after the last one.", show_default="tomorrow"),
    ] = None,
    by: Annotated[Literal["day", "user"], typer.Option(help="One row for each of these.")] = "day",
    user: Annotated[
        str | None, typer.Option(metavar="USER_ID", help="Whose; for keys with `admin`.", show_default="your own")
    ] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Everybody's; for keys with `admin`.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a header on stdout, without the total.")] = False,
) -> None:
    """Sum up what jobs took and saved."""
    from pixelflow.cli import usage_views  # noqa: PLC0415 - see the package's docstring

    if as_json and as_csv:
        raise typer.BadParameter("it is --json or --csv")
    days = from_ and from_.date(), to and to.date()
    form: usage_views.Form = "json" if as_json else "csv" if as_csv else "table"
    usage_views.show_usage(*days, by=by, user_id=user, all_users=all_users, form=form)
