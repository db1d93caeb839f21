"""Responses of ``GET /v1/usage``, as models and as CSV. Days are UTC days. Reads no clock."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from pixelflow.contracts.responses import ResponseModel

MAX_DAYS = 366
"""Days in one response: a leap year."""
DEFAULT_DAYS = 30
MAX_USERS = 1000
"""Users on one page."""

_FORMULA_STARTS = "=+-@＝＋－＠"  # noqa: RUF001  # East Asian spreadsheets interpret the full-width ones too
_ESCAPE = "'"
_FORMULA = re.compile(rf"(?:^|(?<=[;,|]))(?=[{re.escape(_FORMULA_STARTS + _ESCAPE)}])")
"""Prefix of a text that a spreadsheet would interpret as a formula, and of one that starts with this character."""


class UsageSums(ResponseModel):
    """Sums of the usage of succeeded jobs. They may exceed 2^53, above which doubles are not exact."""

    jobs: Annotated[int, Field(ge=0, description="Number of jobs that succeeded.")]
    pixels_processed: Annotated[
        int, Field(ge=0, description="Sum of width × height over all outputs. May exceed 2^53.")
    ]
    bytes_saved: Annotated[
        int, Field(ge=0, description="Sum of the bytes saved by each job, at least 0. May exceed 2^53.")
    ]
    compute_time_ms: Annotated[int, Field(ge=0, description="CPU time of the transforms in milliseconds.")]
    failed_compute_time_ms: Annotated[
        int, Field(ge=0, description="CPU time of attempts that failed, in milliseconds. It is not billed.")
    ] = 0


class UsageOfDay(UsageSums):
    """Usage of one day."""

    day: Annotated[date, Field(description="UTC day on which the jobs succeeded.")]


class UsageOfUser(UsageSums):
    """Usage of one user."""

    user_id: str


class _Usage(ResponseModel):
    model_config = ConfigDict(populate_by_name=True)

    from_day: Annotated[date, Field(alias="from", description="First day.")]
    to_day: Annotated[date, Field(alias="to", description="Day after the last day.")]
    user_id: Annotated[str | None, Field(description="ID of the user. Null: all users.")]
    total: Annotated[
        UsageSums, Field(description="Sums over all requested days and users, including those on other pages.")
    ]


class UsageByDay(_Usage):
    """The response to ``GET /v1/usage``: every day of the period in order, including days without jobs."""

    group_by: Literal["day"] = "day"
    data: list[UsageOfDay]


class UsageByUser(_Usage):
    """The response to ``GET /v1/usage?group_by=user``: users with usage in the period, ordered by id."""

    group_by: Literal["user"] = "user"
    data: list[UsageOfUser]
    next_cursor: Annotated[str | None, Field(description="Value of `cursor` for the next page. Null on the last page.")]


def period_error(from_day: date, to_day: date) -> str | None:
    """What is wrong with ``to_day``, if the period is not valid."""
    if from_day >= to_day:
        return "must be after `from`: it is the day after the last day"
    if (to_day - from_day).days > MAX_DAYS:
        return f"must be at most {MAX_DAYS} days after `from`"
    return None


def as_csv(usage: UsageByDay | UsageByUser) -> str:
    """The rows of ``usage`` as CSV with a header (RFC 4180), without the total.

    What a spreadsheet would interpret as a formula is prefixed with an apostrophe: at the start of a user id, and
    after a character that separates cells where lists are not separated by commas. So is an apostrophe there: to
    restore the ids, remove one apostrophe at the start and after each `;`, `,` and `|`.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    sums = list(UsageSums.model_fields)
    writer.writerow(["day" if isinstance(usage, UsageByDay) else "user_id", *sums])
    for label, row in _labeled(usage):
        writer.writerow([label, *(getattr(row, name) for name in sums)])
    return text.getvalue()


def _labeled(usage: UsageByDay | UsageByUser) -> Iterator[tuple[str, UsageSums]]:
    if isinstance(usage, UsageByDay):
        yield from ((row.day.isoformat(), row) for row in usage.data)
    else:
        yield from ((_escape_formula(row.user_id), row) for row in usage.data)


def _escape_formula(text: str) -> str:
    return _FORMULA.sub(_ESCAPE, text)
