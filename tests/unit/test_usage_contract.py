"""Usage: valid periods and the CSV format."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelflow.contracts.usage import UsageByDay, UsageByUser, UsageOfDay, UsageOfUser, UsageSums, as_csv, period_error

FIRST = date(2028, 1, 1)
SUMS = {
    "jobs": 2,
    "pixels_processed": 2**53 + 1,
    "bytes_saved": 2**70,
    "compute_time_ms": 9,
    "failed_compute_time_ms": 3,
}
TOTAL = UsageSums(**SUMS)


def by_user(*user_ids: str) -> UsageByUser:
    rows = [UsageOfUser(user_id=user_id, **SUMS) for user_id in user_ids]
    return UsageByUser(
        from_day=FIRST, to_day=FIRST + timedelta(days=1), user_id=None, total=TOTAL, data=rows, next_cursor=None
    )


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(("days", "wrong"), [(-1, "after"), (0, "after"), (1, None), (366, None), (367, "366 days")])
def test_a_period_has_between_one_day_and_a_leap_year(days: int, wrong: str | None) -> None:
    found = period_error(FIRST, FIRST + timedelta(days=days))
    assert (found is None) if wrong is None else (found is not None and wrong in found)


def test_csv_has_a_header_and_the_rows_without_the_total() -> None:
    usage = UsageByDay(
        from_day=FIRST,
        to_day=FIRST + timedelta(days=1),
        user_id="acme",
        total=TOTAL,
        data=[UsageOfDay(day=FIRST, **SUMS)],
    )
    assert as_csv(usage) == (
        "day,jobs,pixels_processed,bytes_saved,compute_time_ms,failed_compute_time_ms\r\n"
        "2028-01-01,2,9007199254740993,1180591620717411303424,9,3\r\n"
    )


@pytest.mark.parametrize("user_id", ["=1+1", "+49", "-1", "@SUM(A1)", "＝1", "＋1", "－1", "＠x", "'=1", "'"])  # noqa: RUF001
def test_a_user_id_that_looks_like_a_formula_is_escaped(user_id: str) -> None:
    assert rows_of(as_csv(by_user(user_id)))[1][0] == f"'{user_id}"


@pytest.mark.parametrize(
    ("user_id", "cell"), [("a;=cmd|'/c calc'!A0", "a;'=cmd|''/c calc'!A0"), ("a,@b;+c", "a,'@b;'+c")]
)
def test_a_formula_after_a_separator_of_cells_is_escaped(user_id: str, cell: str) -> None:
    """Where lists are separated by semicolons, a spreadsheet splits the line there, whatever is quoted."""
    assert rows_of(as_csv(by_user(user_id)))[1][0] == cell


@given(st.lists(st.text(min_size=1, max_size=9).filter(str.isprintable), max_size=5))
def test_removing_one_apostrophe_restores_the_user_ids(user_ids: list[str]) -> None:
    cells = [row[0] for row in rows_of(as_csv(by_user(*user_ids)))[1:]]
    assert [re.sub(r"(^|[;,|])'", r"\1", cell) for cell in cells] == user_ids
    assert not [part for cell in cells for part in re.split("[;,|]", cell) if part[:1] in {*"=+-@"}]
