"""``GET /v1/usage`` through the running API: whose it is, which days, what is summed, and in which form."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from tests.acceptance import job_steps
from tests.acceptance.pictures import photo

from pixelflow.adapters.postgres.database import AsyncDatabase
from pixelflow.contracts.keys import DEFAULT_SCOPES, Scope
from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.controlplane.usage.service import UsageFilter, UsageQueries
from pixelflow.devstack.stack import Stack

NOVEMBER = {"from": "2026-11-01", "to": "2026-12-01"}
NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
MOST = 2**63 - 1

Bill = Callable[..., UUID]
MakeClient = Callable[..., httpx.Client]


@pytest.fixture
def operator(database_url: str) -> Iterator[psycopg.Connection]:
    """Sees everything, in a time zone that is not UTC."""
    with psycopg.connect(database_url, autocommit=True, options="-c pixelflow.reach=everyone") as connection:
        connection.execute("SET TimeZone = 'Asia/Kathmandu'")
        yield connection


@pytest.fixture
def bill(operator: psycopg.Connection) -> Bill:
    """Keeps usage of a job that succeeded at that moment."""

    def add(user_id: str, at: datetime = NOON, *, pixels: int = 100, saved: int = 10, ms: int = 1) -> UUID:
        job_id = uuid4()
        operator.execute(
            "INSERT INTO usage_logs VALUES (%s, %s, %s, %s, %s, %s)", (job_id, user_id, pixels, saved, ms, at)
        )
        return job_id

    return add


@pytest.fixture
def client_of(service: Stack, database_url: str) -> Iterator[MakeClient]:
    """A client of the running API for that user, with those scopes."""
    opened = []

    def make(user_id: str, scopes: frozenset[Scope] = DEFAULT_SCOPES) -> httpx.Client:
        key = issue_key(database_url, user_id=user_id, name="test", scopes=scopes)
        client = httpx.Client(base_url=service.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def mine(client_of: MakeClient, user_id: str) -> httpx.Client:
    return client_of(user_id)


@pytest.fixture
def admin(client_of: MakeClient) -> httpx.Client:
    return client_of(f"admin-{uuid4()}", frozenset({Scope.ADMIN}))


def usage(client: httpx.Client, **query: str) -> dict[str, Any]:
    answer = client.get("/v1/usage", params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def jobs_by_day(told: dict[str, Any]) -> dict[str, int]:
    return {row["day"]: row["jobs"] for row in told["data"] if row["jobs"]}


# ── What is summed ───────────────────────────────────────────────────────────────────────────────


def test_a_job_that_succeeded_is_summed_up_also_after_it_was_erased(mine: httpx.Client) -> None:
    job = job_steps.done(mine, photo(), job_steps.resize())
    assert mine.delete(f"/v1/jobs/{job['job_id']}").status_code == 204
    told = usage(mine)
    assert told["total"] == {"jobs": 1, **job["usage"]}
    assert jobs_by_day(told) == {job["finished_at"][:10]: 1}


def test_each_day_of_the_span_is_there_once_and_its_end_is_not_part_of_it(
    mine: httpx.Client, bill: Bill, user_id: str
) -> None:
    for at in (NOON, NOON + timedelta(hours=3), NOON + timedelta(days=2)):
        bill(user_id, at, pixels=5, saved=3, ms=7)
    told = usage(mine, **{"from": "2026-11-14", "to": "2026-11-17"})
    nothing = {"jobs": 0, "pixels_processed": 0, "bytes_saved": 0, "compute_time_ms": 0}
    both = {"jobs": 2, "pixels_processed": 10, "bytes_saved": 6, "compute_time_ms": 14}
    assert told == {
        "from": "2026-11-14",
        "to": "2026-11-17",
        "user_id": user_id,
        "group_by": "day",
        "total": both,
        "data": [
            {"day": "2026-11-14", **nothing},
            {"day": "2026-11-15", **both},
            {"day": "2026-11-16", **nothing},
        ],
    }


def test_a_day_begins_and_ends_at_midnight_of_utc(mine: httpx.Client, bill: Bill, user_id: str) -> None:
    midnight = datetime(2026, 11, 1, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    for at in (midnight - tick, midnight, midnight + timedelta(days=1) - tick, midnight + timedelta(days=1)):
        bill(user_id, at)
    days = {"2026-10-31": 1, "2026-11-01": 2, "2026-11-02": 1}
    assert jobs_by_day(usage(mine, **{"from": "2026-10-31", "to": "2026-11-03"})) == days
    assert jobs_by_day(usage(mine, **{"from": "2026-11-01", "to": "2026-11-02"})) == {"2026-11-01": 2}


def test_spans_that_meet_count_every_job_once(mine: httpx.Client, bill: Bill, user_id: str) -> None:
    for hours in range(0, 24 * 60, 11):
        bill(user_id, datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hours))
    spans = [("2026-11-01", "2026-12-01"), ("2026-12-01", "2027-01-01")]
    parts = [usage(mine, **{"from": first, "to": end})["total"]["jobs"] for first, end in spans]
    assert sum(parts) == usage(mine, **{"from": "2026-11-01", "to": "2027-01-01"})["total"]["jobs"] == 131


@pytest.mark.parametrize("group_by", ["day", "user"])
def test_sums_are_exact_beyond_all_machine_numbers(mine: httpx.Client, bill: Bill, user_id: str, group_by: str) -> None:
    for _ in range(3):
        bill(user_id, pixels=MOST)
    assert usage(mine, **NOVEMBER, group_by=group_by)["total"]["pixels_processed"] == 3 * MOST


# ── Which days ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        (UsageFilter(), "2026-02-02", "2026-03-04"),
        (UsageFilter(to_day=date(2026, 2, 1)), "2026-01-02", "2026-02-01"),
        (UsageFilter(from_day=date(2026, 3, 3)), "2026-03-03", "2026-03-04"),
    ],
    ids=["neither", "no first", "no end"],
)
async def test_days_that_are_not_named_are_the_thirty_until_today(
    database: AsyncDatabase, wanted: UsageFilter, first: str, end: str
) -> None:
    late_in_utc = datetime(2026, 3, 3, 23, 59, tzinfo=UTC).astimezone()
    shown = UsageQueries(database, clock=lambda: late_in_utc)
    told = await shown.by_day(Identity("nobody", frozenset()), wanted)
    assert (str(told.from_day), str(told.to_day)) == (first, end)
    assert len(told.data) == (told.to_day - told.from_day).days


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        pytest.param({"from": "2026-11-02", "to": "2026-11-01"}, ["/query/to"], id="backwards"),
        pytest.param({"from": "2026-11-01", "to": "2026-11-01"}, ["/query/to"], id="no day"),
        pytest.param({"from": "2026-01-01", "to": "2027-01-03"}, ["/query/to"], id="too many days"),
        pytest.param({"from": "2001-01-01"}, ["/query/from"], id="too many until today"),
        pytest.param({"from": "2999-12-31"}, ["/query/from"], id="in the future"),
        pytest.param({"from": "1999-12-31", "to": "3000-01-01"}, ["/query/from", "/query/to"], id="out of time"),
        pytest.param({"to": "0001-01-01"}, ["/query/to"], id="before the calendar"),
        pytest.param({"from": "2026-11-01T10:00:00Z", "to": "soon"}, ["/query/from", "/query/to"], id="no days"),
        pytest.param({"group_by": "week", "format": "xml"}, ["/query/group_by", "/query/format"], id="no such"),
        pytest.param({"user_id": "a\0b"}, ["/query/user_id"], id="a user id that can't be written down"),
        pytest.param({"limit": "1", "cursor": "a"}, ["/query/limit", "/query/cursor"], id="pages of days"),
        pytest.param({"group_by": "user", "limit": "1001"}, ["/query/limit"], id="too large a page"),
        pytest.param(
            {"from": "2026-11-02", "to": "2026-11-01", "user_id": "a", "all_users": "true", "group_by": "week"},
            ["/query/to", "/query/group_by", "/query/all_users"],
            id="everything at once",
        ),
    ],
)
def test_all_that_is_wrong_is_told_at_once(admin: httpx.Client, query: dict[str, str], pointers: list[str]) -> None:
    answer = admin.get("/v1/usage", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers


# ── Whose ────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_sees_or_names_another(mine: httpx.Client, bill: Bill, user_id: str) -> None:
    other = f"not-{user_id}"
    bill(other)
    bill(user_id)
    assert usage(mine, **NOVEMBER)["total"]["jobs"] == 1
    assert usage(mine, **NOVEMBER, user_id=user_id)["total"]["jobs"] == 1
    users = usage(mine, **NOVEMBER, group_by="user")
    assert [row["user_id"] for row in users["data"]] == [user_id]
    for query in ({"user_id": other}, {"user_id": "nobody at all"}, {"all_users": "true"}):
        for group_by in ("day", "user"):
            answer = mine.get("/v1/usage", params={**NOVEMBER, **query, "group_by": group_by})
            assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
            assert answer.json()["detail"] == "This request requires the scope `admin`"


def test_usage_needs_its_own_scope(client_of: MakeClient, user_id: str) -> None:
    assert client_of(user_id, DEFAULT_SCOPES - {Scope.USAGE_READ}).get("/v1/usage").status_code == 403
    assert client_of(user_id, frozenset({Scope.USAGE_READ})).get("/v1/usage").status_code == 200


def test_an_admin_sees_anybodys(admin: httpx.Client, bill: Bill, user_id: str) -> None:
    bill(user_id)
    told = usage(admin, **NOVEMBER, user_id=user_id)
    assert (told["user_id"], jobs_by_day(told)) == (user_id, {"2026-11-15": 1})
    assert usage(admin, **NOVEMBER)["total"]["jobs"] == 0, "their own, unless they ask for more"


def test_an_admin_sees_everybodys_page_by_page_with_the_total_of_all(admin: httpx.Client, bill: Bill) -> None:
    day, mark = datetime(2020, 2, 29, 12, tzinfo=UTC), uuid4()
    users = sorted(f"{mark}-{n}" for n in range(5))
    for n, user_id in enumerate(users):
        for _ in range(n + 1):
            bill(user_id, day, pixels=1000)
    span = {"from": "2020-02-29", "to": "2020-03-01", "all_users": "true"}
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    pages = 0
    while True:
        told = usage(admin, **span, group_by="user", limit="2", **cursor)
        assert (told["user_id"], told["total"]["jobs"], told["total"]["pixels_processed"]) == (None, 15, 15_000)
        found += told["data"]
        pages += 1
        if told["next_cursor"] is None:
            break
        cursor = {"cursor": told["next_cursor"]}
    assert ([row["user_id"] for row in found], pages) == (users, 3)
    assert [row["jobs"] for row in found] == [1, 2, 3, 4, 5]
    assert jobs_by_day(usage(admin, **span)) == {"2020-02-29": 15}


def test_nobody_has_used_anything_is_an_answer_too(admin: httpx.Client) -> None:
    told = usage(admin, **{"from": "2019-01-01", "to": "2019-01-02"}, all_users="true", group_by="user")
    assert (told["total"]["jobs"], told["data"], told["next_cursor"]) == (0, [], None)


# ── In which form ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query", "accept", "form"),
    [
        ({}, "*/*", "application/json"),
        ({}, "text/html,text/csv", "application/json"),
        ({"format": "csv"}, "*/*", "text/csv; charset=utf-8"),
        ({}, "text/csv, application/json;q=0.5", "text/csv; charset=utf-8"),
        ({"format": "json"}, "text/csv", "application/json"),
    ],
)
def test_the_form_is_what_was_asked_for(mine: httpx.Client, query: dict[str, str], accept: str, form: str) -> None:
    answer = mine.get("/v1/usage", params={**NOVEMBER, **query}, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"], answer.headers["vary"]) == (200, form, "Accept")


def test_csv_holds_what_json_does(mine: httpx.Client, bill: Bill, user_id: str) -> None:
    bill(user_id)
    answer = mine.get("/v1/usage", params={**NOVEMBER, "format": "csv"})
    assert answer.headers["content-disposition"] == 'attachment; filename="usage-2026-11-01-2026-12-01.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert rows == [{name: str(value) for name, value in row.items()} for row in usage(mine, **NOVEMBER)["data"]]


def test_csv_of_users_holds_no_formula_and_links_to_its_next_page(admin: httpx.Client, bill: Bill) -> None:
    day, mark = datetime(2021, 5, 5, 12, tzinfo=UTC), uuid4()
    users = {f"=cmd|{mark}", f"+{mark} &ü"}
    for user_id in users:
        bill(user_id, day)
    url: str | None = "/v1/usage?from=2021-05-05&to=2021-05-06&all_users=true&group_by=user&limit=1&format=csv"
    found = []
    while url:
        answer = admin.get(url)
        found += list(csv.DictReader(io.StringIO(answer.text, newline="")))
        url = answer.links.get("next", {}).get("url")
    assert {row["user_id"] for row in found} == {f"'{user_id}" for user_id in users}
    assert len(found) == 2
