"""Usage summed up: what ``GET /v1/usage`` answers, as models and as CSV. Its days are days of UTC; it asks no clock."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_DAYS = 366
"""Of one answer: a year, whichever it is."""
DEFAULT_DAYS = 30
MAX_USERS = 1000
"""Of one page."""

_FORMULA_STARTS = "=+-@＝＋－＠"  # noqa: RUF001  # East Asian spreadsheets take the wide ones, too
_MARK = "'"
"""Before a text that a spreadsheet would else take for a formula; and before one that begins so itself."""


class UsageSums(BaseModel):
    """Sums of the usage of succeeded jobs. They may be larger than 2^53, beyond which doubles are not exact."""

    model_config = ConfigDict(frozen=True)

    jobs: Annotated[int, Field(ge=0, description="Jobs that succeeded.")]
    pixels_processed: Annotated[int, Field(ge=0, description="Width × height of their outputs. May exceed 2^53.")]
    bytes_saved: Annotated[int, Field(ge=0, description="By each job, at least 0. May exceed 2^53.")]
    compute_time_ms: Annotated[int, Field(ge=0, description="CPU time of their transforms.")]


class UsageOfDay(UsageSums):
    """One day's."""

    day: Annotated[date, Field(description="Of UTC; by when the jobs succeeded.")]


class UsageOfUser(UsageSums):
    """One user's."""

    user_id: str


class _Usage(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)

    from_day: Annotated[date, Field(alias="from", description="The first day.")]
    to_day: Annotated[date, Field(alias="to", description="The day after the last one.")]
    user_id: Annotated[str | None, Field(description="Whose; null: everybody's.")]
    total: Annotated[UsageSums, Field(description="Of all days and users that were asked for, also beyond this page.")]


class UsageByDay(_Usage):
    """The answer to ``GET /v1/usage``: every day of the span once, in order, also those without jobs."""

    group_by: Literal["day"] = "day"
    data: list[UsageOfDay]


class UsageByUser(_Usage):
    """The answer to ``GET /v1/usage?group_by=user``: users who have jobs in the span, by their ids."""

    group_by: Literal["user"] = "user"
    data: list[UsageOfUser]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null on the last.")]


def span_error(from_day: date, to_day: date) -> str | None:
    """What is wrong with the span, if anything is."""
    if from_day >= to_day:
        return "`from` must be before `to`, which is the day after the last one"
    if (to_day - from_day).days > MAX_DAYS:
        return f"`from` and `to` must be at most {MAX_DAYS} days apart"
    return None


def as_csv(usage: UsageByDay | UsageByUser) -> str:
    """The rows of ``usage`` with a header (RFC 4180), without the total.

    A user's id that begins like a formula gets an apostrophe before it, and so does one that begins with an apostrophe:
    whoever takes one leading apostrophe away has the ids as they are.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    sums = list(UsageSums.model_fields)
    writer.writerow(["day" if isinstance(usage, UsageByDay) else "user_id", *sums])
    for label, row in _labelled(usage):
        writer.writerow([label, *(getattr(row, name) for name in sums)])
    return text.getvalue()


def _labelled(usage: UsageByDay | UsageByUser) -> Iterator[tuple[str, UsageSums]]:
    if isinstance(usage, UsageByDay):
        yield from ((row.day.isoformat(), row) for row in usage.data)
    else:
        yield from ((_no_formula(row.user_id), row) for row in usage.data)


def _no_formula(text: str) -> str:
    return _MARK + text if text.startswith((*_FORMULA_STARTS, _MARK)) else text
