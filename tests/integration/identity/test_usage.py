"""``GET /v1/usage`` through the running API: users, days, sums and formats."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    with psycopg.connect(database_url, autocommit=True, options="-c pixelflow.tenant_scope=everyone") as connection:
        connection.execute("SET TimeZone = 'Asia/Kathmandu'")
        yield connection


@pytest.fixture
def bill(operator: psycopg.Connection) -> Bill:
    """Inserts the usage of a job that succeeded at that time."""

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
    result: dict[str, Any] = answer.json()
    return result


def jobs_by_day(result: dict[str, Any]) -> dict[str, int]:
    return {row["day"]: row["jobs"] for row in result["data"] if row["jobs"]}


# ── Sums ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_succeeded_job_is_counted_even_after_its_erasure(mine: httpx.Client) -> None:
    job = job_steps.done(mine, photo(), job_steps.resize())
    assert mine.delete(f"/v1/jobs/{job['job_id']}").status_code == 204
    result = usage(mine)
    assert result["total"] == {"jobs": 1, **job["usage"], "failed_compute_time_ms": 0}
    assert jobs_by_day(result) == {job["finished_at"][:10]: 1}


def test_the_time_of_failed_attempts_is_shown_and_not_billed(mine: httpx.Client, admin: httpx.Client) -> None:
    job = job_steps.done(mine, b"no picture")
    assert job["status"] == "failed"
    result = usage(mine)
    assert (result["total"]["jobs"], result["total"]["compute_time_ms"]) == (0, 0)
    failed = result["total"]["failed_compute_time_ms"]
    assert failed >= 0
    assert sum(day["failed_compute_time_ms"] for day in result["data"]) == failed
    everyone = usage(admin, all_users="true")
    assert everyone["total"]["failed_compute_time_ms"] >= failed


def test_each_day_of_the_range_is_listed_once_without_the_end(mine: httpx.Client, bill: Bill, user_id: str) -> None:
    for at in (NOON, NOON + timedelta(hours=3), NOON + timedelta(days=2)):
        bill(user_id, at, pixels=5, saved=3, ms=7)
    result = usage(mine, **{"from": "2026-11-14", "to": "2026-11-17"})
    nothing = {"jobs": 0, "pixels_processed": 0, "bytes_saved": 0, "compute_time_ms": 0, "failed_compute_time_ms": 0}
    both = {"jobs": 2, "pixels_processed": 10, "bytes_saved": 6, "compute_time_ms": 14, "failed_compute_time_ms": 0}
    assert result == {
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


def test_adjacent_ranges_count_every_job_once(mine: httpx.Client, bill: Bill, user_id: str) -> None:
    for hours in range(0, 24 * 60, 11):
        bill(user_id, datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hours))
    spans = [("2026-11-01", "2026-12-01"), ("2026-12-01", "2027-01-01")]
    parts = [usage(mine, **{"from": first, "to": end})["total"]["jobs"] for first, end in spans]
    assert sum(parts) == usage(mine, **{"from": "2026-11-01", "to": "2027-01-01"})["total"]["jobs"] == 131


@pytest.mark.parametrize("group_by", ["day", "user"])
def test_sums_are_exact_beyond_64_bits(mine: httpx.Client, bill: Bill, user_id: str, group_by: str) -> None:
    for _ in range(3):
        bill(user_id, pixels=MOST)
    assert usage(mine, **NOVEMBER, group_by=group_by)["total"]["pixels_processed"] == 3 * MOST


def test_sums_are_kept_equal_to_the_rows(operator: psycopg.Connection, bill: Bill, user_id: str) -> None:
    """Also by several rows of a statement, and by what an operator changes."""
    other = f"other-{user_id}"
    jobs = [bill(user_id, NOON + timedelta(hours=7 * n), pixels=n, saved=2 * n, ms=n + 1) for n in range(20)]
    operator.execute(
        """INSERT INTO usage_logs SELECT gen_random_uuid(), user_id || n, 7, 8, 9, created_at
           FROM usage_logs, generate_series(1, 3) AS n WHERE user_id = %s""",
        (user_id,),
    )
    operator.execute("UPDATE usage_logs SET user_id = %s, pixels_processed = 5 WHERE job_id = %s", (other, jobs[3]))
    operator.execute("DELETE FROM usage_logs WHERE job_id = ANY(%s)", (jobs[10:],))
    with pytest.raises(psycopg.errors.UniqueViolation):
        operator.execute("INSERT INTO usage_logs SELECT * FROM usage_logs WHERE user_id = %s", (user_id,))
    rows = operator.execute(
        """SELECT user_id, (created_at AT TIME ZONE 'UTC')::date AS day, count(*), sum(pixels_processed),
                  sum(bytes_saved), sum(compute_time_ms)
           FROM usage_logs WHERE user_id LIKE %s GROUP BY 1, 2 ORDER BY 1, 2""",
        (f"%{user_id}%",),
    ).fetchall()
    kept = operator.execute(
        "SELECT * FROM usage_days WHERE user_id LIKE %s ORDER BY user_id, day", (f"%{user_id}%",)
    ).fetchall()
    assert len(rows) > 20
    assert kept == rows


def test_concurrent_writers_of_a_user_lose_no_sum(database_url: str, user_id: str) -> None:
    def write(_: int) -> None:
        with psycopg.connect(database_url, autocommit=True, options="-c pixelflow.tenant_scope=everyone") as connection:
            for _ in range(25):
                connection.execute("INSERT INTO usage_logs VALUES (gen_random_uuid(), %s, 3, 2, 1)", (user_id,))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with psycopg.connect(database_url, options="-c pixelflow.tenant_scope=everyone") as connection:
        sums = "SELECT sum(jobs), sum(pixels_processed), sum(compute_time_ms) FROM usage_days WHERE user_id = %s"
        assert connection.execute(sums, (user_id,)).fetchone() == (100, 300, 100)


# ── Days ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("usage_filter", "first", "end"),
    [
        (UsageFilter(), "2026-02-02", "2026-03-04"),
        (UsageFilter(to_day=date(2026, 2, 1)), "2026-01-02", "2026-02-01"),
        (UsageFilter(from_day=date(2026, 3, 3)), "2026-03-03", "2026-03-04"),
    ],
    ids=["neither", "no first", "no end"],
)
async def test_the_default_range_is_the_last_thirty_days(
    database: AsyncDatabase, usage_filter: UsageFilter, first: str, end: str
) -> None:
    late_in_utc = datetime(2026, 3, 3, 23, 59, tzinfo=UTC).astimezone()
    queries = UsageQueries(database, clock=lambda: late_in_utc)
    result = await queries.by_day(Identity("nobody", frozenset()), usage_filter)
    assert (str(result.from_day), str(result.to_day)) == (first, end)
    assert len(result.data) == (result.to_day - result.from_day).days


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
def test_all_errors_are_reported_at_once(admin: httpx.Client, query: dict[str, str], pointers: list[str]) -> None:
    answer = admin.get("/v1/usage", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers


# ── Users ────────────────────────────────────────────────────────────────────────────────────────


def test_a_user_can_not_see_other_users(mine: httpx.Client, bill: Bill, user_id: str) -> None:
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


def test_usage_requires_its_scope(client_of: MakeClient, user_id: str) -> None:
    assert client_of(user_id, DEFAULT_SCOPES - {Scope.USAGE_READ}).get("/v1/usage").status_code == 403
    assert client_of(user_id, frozenset({Scope.USAGE_READ})).get("/v1/usage").status_code == 200


def test_an_admin_can_see_any_user(admin: httpx.Client, bill: Bill, user_id: str) -> None:
    bill(user_id)
    result = usage(admin, **NOVEMBER, user_id=user_id)
    assert (result["user_id"], jobs_by_day(result)) == (user_id, {"2026-11-15": 1})
    assert usage(admin, **NOVEMBER)["total"]["jobs"] == 0, "their own usage by default"


def test_an_admin_pages_through_all_users_with_the_total_on_each_page(admin: httpx.Client, bill: Bill) -> None:
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
        result = usage(admin, **span, group_by="user", limit="2", **cursor)
        assert (result["user_id"], result["total"]["jobs"], result["total"]["pixels_processed"]) == (None, 15, 15_000)
        found += result["data"]
        pages += 1
        if result["next_cursor"] is None:
            break
        cursor = {"cursor": result["next_cursor"]}
    assert ([row["user_id"] for row in found], pages) == (users, 3)
    assert [row["jobs"] for row in found] == [1, 2, 3, 4, 5]
    assert jobs_by_day(usage(admin, **span)) == {"2020-02-29": 15}


def test_a_range_without_usage_is_empty(admin: httpx.Client) -> None:
    result = usage(admin, **{"from": "2019-01-01", "to": "2019-01-02"}, all_users="true", group_by="user")
    assert (result["total"]["jobs"], result["data"], result["next_cursor"]) == (0, [], None)


# ── Formats ──────────────────────────────────────────────────────────────────────────────────────


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
def test_the_format_follows_the_parameter_and_the_accept_header(
    mine: httpx.Client, query: dict[str, str], accept: str, form: str
) -> None:
    answer = mine.get("/v1/usage", params={**NOVEMBER, **query}, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"], answer.headers["vary"]) == (200, form, "Accept")


def test_csv_has_the_same_rows_as_json(mine: httpx.Client, bill: Bill, user_id: str) -> None:
    bill(user_id)
    answer = mine.get("/v1/usage", params={**NOVEMBER, "format": "csv"})
    assert answer.headers["content-disposition"] == 'attachment; filename="usage-2026-11-01-2026-12-01.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert rows == [{name: str(value) for name, value in row.items()} for row in usage(mine, **NOVEMBER)["data"]]


def test_csv_of_users_contains_no_formula_and_links_to_the_next_page(admin: httpx.Client, bill: Bill) -> None:
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
