"""Lists of jobs by metadata, preset, batch and time: through the API, with the rights of its role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from psycopg.types.json import Jsonb
from tests.integration.identity.conftest import serving
from tests.integration.job_rows import put

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, Connection
from pixelflow.client import Client
from pixelflow.client.session import Session
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.jobs import lists
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.lists import MAX_SCANNED, Position
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.settings import Settings

STEPS: list[dict[str, Any]] = [{"id": "a", "action": "resize", "width": 9, "format": "webp"}]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def api(quiet: Settings) -> Iterator[str]:
    with serving(quiet.model_copy(update={"rate_limit_enabled": False})) as url:
        yield url


@pytest.fixture
def user_id() -> str:
    return f"user-{uuid4()}"


@pytest.fixture
def session(api: str, quiet: Settings, user_id: str) -> Session:
    return Session(api, issue_key(quiet.database_url.get_secret_value(), user_id=user_id, name="test"))


@pytest.fixture
def http(session: Session) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=session.api_url, headers=session.headers()) as client:
        yield client


@pytest.fixture
def client(session: Session) -> Iterator[Client]:
    with Client(session=session) as opened:
        yield opened


def entries(connection: Connection, job_id: UUID | str) -> int:
    row = connection.execute("SELECT count(*) AS rows FROM job_filters WHERE job_id = %s", (job_id,)).fetchone()
    assert row
    return int(row["rows"])


def create(http: httpx.Client, **fields: object) -> str:
    answer = http.post("/v1/jobs", json={"source": {"content_length": 9}, "pipeline": STEPS} | fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def test_jobs_are_found_by_all_values_of_their_metadata_and_no_others(http: httpx.Client, client: Client) -> None:
    both = create(http, metadata={"sku": "A-17", "color": "red"})
    one = create(http, metadata={"sku": "A-17"})
    create(http, metadata={"sku": "a-17"})
    create(http)

    def found(**metadata: str) -> list[str]:
        return [str(job.job_id) for job in client.iter_jobs(metadata=metadata, page_size=1)]

    assert found(sku="A-17") == [one, both]
    assert found(color="red", sku="A-17") == found(sku="A-17", color="red") == [both]
    assert found(sku="A-1") == found(sku="A-17", color="blue") == []


def test_jobs_are_found_by_preset_with_and_without_its_version(http: httpx.Client, client: Client) -> None:
    made = []
    for width in (9, 10):
        client.save_preset("avatar", [STEPS[0] | {"width": width}])
        made.append(http.post("/v1/jobs", json={"source": {"content_length": 9}, "preset": "avatar"}).json()["job_id"])
    assert [str(job.job_id) for job in client.iter_jobs(preset="avatar")] == made[::-1]
    assert [str(job.job_id) for job in client.iter_jobs(preset="avatar@1")] == made[:1]
    assert list(client.iter_jobs(preset="avatar@1", metadata={"sku": "1"})) == []


def test_times_are_a_half_open_range(connection: Connection, client: Client, user_id: str) -> None:
    sku = Jsonb({"sku": "1"})
    ids = [
        put(connection, "succeeded", user_id=user_id, created_at=NOON + hours * HOUR, metadata=sku)
        for hours in range(4)
    ]
    for metadata in ({}, {"sku": "1"}):
        jobs = client.iter_jobs(created_after=NOON + HOUR, created_before=NOON + 3 * HOUR, metadata=metadata)
        assert [job.job_id for job in jobs] == [ids[2], ids[1]]


def test_jobs_are_found_by_batch_and_status(connection: Connection, client: Client, user_id: str) -> None:
    batch_id = uuid4()
    failed = put(connection, "failed", user_id=user_id, batch_id=batch_id)
    put(connection, "succeeded", user_id=user_id, batch_id=batch_id)
    put(connection, "failed", user_id=user_id)
    assert [job.job_id for job in client.iter_jobs(batch_id=batch_id, status=JobStatus.FAILED)] == [failed]


def test_few_jobs_among_many_of_the_same_value_are_found_page_by_page(
    connection: Connection, client: Client, http: httpx.Client, user_id: str
) -> None:
    """A request reads 1000 jobs at most; the pages before are empty and continue."""
    first = put(connection, "failed", user_id=user_id, metadata=Jsonb({"shop": "main"}), created_at=NOON)
    connection.execute(
        """INSERT INTO jobs (job_id, user_id, status, source_type, source_key, pipeline, max_attempts, metadata,
                             created_at)
           SELECT gen_random_uuid(), %s, 'created', 's3_presigned', 'k', '[]', 5, '{"shop": "main"}',
                  %s::timestamptz + n * interval '1 s' FROM generate_series(1, %s) AS n""",
        (user_id, NOON, 2 * MAX_SCANNED),
    )
    query: dict[str, str | int] = {"metadata.shop": "main", "status": "failed", "limit": 5}
    page = http.get("/v1/jobs", params=query).json()
    assert (page["data"], page["next_cursor"] is None) == ([], False)
    assert [job.job_id for job in client.iter_jobs(status=JobStatus.FAILED, metadata={"shop": "main"})] == [first]


async def test_a_page_and_where_its_scan_ended_are_of_one_snapshot(
    connection: Connection, async_database: AsyncDatabase, user_id: str
) -> None:
    """A job that is created after each statement changes no page, and is on none twice."""
    jobs = [put(connection, "failed", user_id=user_id, metadata=Jsonb({"shop": "main"})) for _ in range(5)][::-1]
    filters = JobFilters(JobStatus.FAILED, metadata={"shop": "main"})
    seen: list[UUID] = []
    before: Position | None = None
    for scanned in (2, 2, 1):
        async with async_database.connection() as opened:
            busy: Any = _Busy(
                opened, lambda: put(connection, "failed", user_id=user_id, metadata=Jsonb({"shop": "main"}))
            )
            page = await lists.list_newest(busy, user_id=user_id, filters=filters, limit=9, before=before, scan=2)
        assert len(page.rows) == scanned
        seen += [row.job_id for row in page.rows]
        before = page.scanned_to
    assert (seen, before) == (jobs, None)


class _Busy:
    """A connection, with something that happens after each statement."""

    def __init__(self, connection: AsyncConnection, then: Callable[[], object]) -> None:
        self._connection = connection
        self._then = then

    async def execute(self, *args: Any) -> Any:  # noqa: ANN401
        cursor = await self._connection.execute(*args)
        self._then()
        return cursor


def test_the_longest_metadata_is_found(http: httpx.Client, client: Client) -> None:
    values = {f"{number:02}" + "\N{GRINNING FACE}" * 62: "\N{GRINNING FACE}" * 512 for number in range(32)}
    job_id = create(http, metadata=values)
    name, value = next(iter(values.items()))
    assert [str(job.job_id) for job in client.iter_jobs(metadata={name: value})] == [job_id]
    assert list(client.iter_jobs(metadata={name: value[:-1]})) == []


def test_other_users_find_nothing(http: httpx.Client, api: str, quiet: Settings) -> None:
    create(http, metadata={"sku": "A-17"})
    key = issue_key(quiet.database_url.get_secret_value(), user_id=f"user-{uuid4()}", name="test")
    with Client(api, key) as other:
        assert list(other.iter_jobs(metadata={"sku": "A-17"})) == []


def test_an_erased_job_leaves_no_digest_of_its_metadata(
    http: httpx.Client, client: Client, connection: Connection
) -> None:
    client.save_preset("avatar", STEPS)
    job_id = http.post(
        "/v1/jobs", json={"source": {"content_length": 9}, "preset": "avatar", "metadata": {"email": "a@b.example"}}
    ).json()["job_id"]
    assert entries(connection, job_id) == 3
    client.erase_job(job_id)
    assert entries(connection, job_id) == 0


def test_a_deleted_job_leaves_no_digest(connection: Connection) -> None:
    job_id = put(connection, "succeeded", metadata=Jsonb({"sku": "1"}))
    assert entries(connection, job_id) == 1
    connection.execute("DELETE FROM jobs WHERE job_id = %s", (job_id,))
    assert entries(connection, job_id) == 0


def test_a_job_without_metadata_has_no_row_in_the_table(http: httpx.Client, connection: Connection) -> None:
    assert entries(connection, create(http)) == 0


def test_values_whose_digests_are_equal_are_told_apart(http: httpx.Client, client: Client) -> None:
    """The digest of name and value is the same, because a name may contain the sign between them."""
    one, other = create(http, metadata={"a": "b=c"}), create(http, metadata={"a=b": "c"})
    assert [str(job.job_id) for job in client.iter_jobs(metadata={"a": "b=c"})] == [one]
    assert [str(job.job_id) for job in client.iter_jobs(metadata={"a=b": "c"})] == [other]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("metadata=A-17", "/query/metadata"),
        ("metadata.=A-17", "/query/metadata"),
        ("metadata.sku=1&metadata.sku=2", "/query/metadata"),
        ("metadata.sku=%00", "/query/metadata"),
        ("&".join(f"metadata.a{number}=1" for number in range(9)), "/query/metadata"),
        ("metadatas.sku=1", "/query/metadatas.sku"),
        ("sku=1", "/query/sku"),
        ("preset=Avatar", "/query/preset"),
        ("batch=1", "/query/batch"),
        ("created_after=yesterday", "/query/created_after"),
        ("created_before=2026-11-23T00:00:00", "/query/created_before"),
    ],
)
def test_an_invalid_condition_is_refused(http: httpx.Client, query: str, pointer: str) -> None:
    answer = http.get(f"/v1/jobs?{query}")
    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [pointer])
