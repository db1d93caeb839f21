"""What readers of changes see: each change once it is committed, in whatever order, and of their own user only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row
from tests.integration.conftest import FOR_ALL_USERS
from tests.integration.job_rows import CAPABILITIES, LEASE, claim, put

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncConnection, Connection
from pixelflow.controlplane.live import store
from pixelflow.controlplane.live.store import Reading, ReadPosition
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.dataplane.worker.store import Renewal

NOW = "SELECT pg_current_snapshot()::text AS snapshot"


class Reader:
    """Reads the changes of a user as a watcher does."""

    def __init__(self, connection: AsyncConnection, *, user_id: str = "user", job_id: UUID | None = None) -> None:
        self._connection = connection
        self._user_id = user_id
        self._job_id = job_id
        self.position = ReadPosition("")

    async def start(self) -> Reader:
        cursor = await self._connection.execute(NOW)
        row = await cursor.fetchone()
        assert row
        self.position = ReadPosition(row["snapshot"])
        return self

    def resumed(self, event_id: str) -> Reader:
        self.position = ReadPosition.of_event_id(int(event_id))
        return self

    async def read(self) -> list[UUID]:
        reading = Reading(self._user_id, self._job_id, self.position)
        [page] = await store.read_changes(self._connection, [reading])
        self.position = page.position
        return [change.job_id for change in page.changes]


@pytest.fixture
async def reader(async_connection: AsyncConnection) -> Reader:
    """A reader that has seen everything so far."""
    return await Reader(async_connection).start()


@pytest.fixture
async def writer(connection: Connection, database_url: str) -> AsyncIterator[psycopg.Connection[DictRow]]:
    """A connection whose transactions stay open until a test commits them."""
    del connection  # the fixture empties the tables first
    with psycopg.connect(database_url, row_factory=dict_row, options=FOR_ALL_USERS) as opened:
        opened.execute("SELECT")  # begins a transaction
        yield opened


async def test_each_change_is_read_once(connection: Connection, reader: Reader) -> None:
    job_id = put(connection)
    assert await reader.read() == [job_id]
    assert await reader.read() == []
    assert claim(connection, job_id)
    assert await reader.read() == [job_id]
    assert await reader.read() == []


async def test_an_update_that_does_not_change_the_status_is_no_change(connection: Connection, reader: Reader) -> None:
    job_id = put(connection)
    await reader.read()
    connection.execute("UPDATE jobs SET status = status, source_bytes = 7 WHERE job_id = %s", (job_id,))
    assert await reader.read() == []


async def test_a_change_that_commits_late_is_not_missed(
    connection: Connection, writer: Connection, reader: Reader
) -> None:
    late = put(writer, "succeeded")  # has the smaller transaction number, but is not committed
    early = put(connection)
    assert await reader.read() == [early]
    assert await reader.read() == []
    writer.commit()
    assert await reader.read() == [late]
    assert await reader.read() == []


async def test_a_reader_that_resumes_by_an_event_id_misses_no_late_change(
    connection: Connection, writer: Connection, reader: Reader, async_connection: AsyncConnection
) -> None:
    late = put(writer, "succeeded")
    early = put(connection)
    assert await reader.read() == [early]
    event_id = reader.position.event_id
    writer.commit()
    resumed = Reader(async_connection).resumed(event_id)
    assert late in await resumed.read()
    assert await resumed.read() == []


async def test_a_reader_that_resumes_gets_nothing_that_it_has_seen_if_all_was_committed(
    connection: Connection, reader: Reader, async_connection: AsyncConnection
) -> None:
    put(connection)
    await reader.read()
    assert await Reader(async_connection).resumed(reader.position.event_id).read() == []


async def test_a_page_that_is_too_large_is_continued_and_late_changes_are_not_missed(
    connection: Connection, writer: Connection, reader: Reader
) -> None:
    late = put(writer, "succeeded")
    count = store.MAX_CHANGES + 7
    connection.execute(
        """
        INSERT INTO jobs (job_id, user_id, source_type, source_key, pipeline, max_attempts)
        SELECT gen_random_uuid(), 'user', 'local_file', 'x', '[]', 1 FROM generate_series(1, %s)
        """,
        (count,),
    )
    first = await reader.read()
    assert len(first) == store.MAX_CHANGES
    assert int(reader.position.event_id) <= int(reader.position.next_snapshot.partition(":")[0])
    writer.commit()
    rest = await reader.read() + await reader.read()
    assert len({*first, *rest}) == count + 1
    assert late in rest
    assert await reader.read() == []


async def test_a_reader_sees_no_changes_of_another_user(
    connection: Connection, reader: Reader, async_connection: AsyncConnection
) -> None:
    theirs = put(connection, user_id="other")
    assert await reader.read() == []
    of_their_job = Reader(async_connection, job_id=theirs)
    assert await of_their_job.read() == []


async def test_a_reader_of_one_job_first_gets_its_present_state(
    connection: Connection, async_connection: AsyncConnection
) -> None:
    job_id = put(connection, "succeeded")
    connection.execute("UPDATE jobs SET change = NULL")  # as jobs of earlier releases
    of_job = Reader(async_connection, job_id=job_id)
    assert await of_job.read() == [job_id]
    assert await of_job.read() == []


async def test_erasing_a_job_is_a_change(
    connection: Connection, reader: Reader, async_connection: AsyncConnection
) -> None:
    job_id = put(connection, "succeeded")
    await reader.read()
    connection.execute("UPDATE jobs SET erased_at = now() WHERE job_id = %s", (job_id,))
    [page] = await store.read_changes(async_connection, [Reading("user", None, reader.position)])
    assert [(change.job_id, change.is_erased) for change in page.changes] == [(job_id, True)]


async def test_changes_of_a_restored_database_are_no_changes_of_the_future(
    connection: Connection, reader: Reader
) -> None:
    job_id = put(connection, "succeeded")
    await reader.read()
    connection.execute("UPDATE jobs SET change = '900000000000' WHERE job_id = %s", (job_id,))
    assert await reader.read() == []


async def test_a_stream_of_all_jobs_begins_with_the_newest_and_reads_changes_of_the_others(
    connection: Connection, async_connection: AsyncConnection
) -> None:
    oldest, *newest = [put(connection) for _ in range(store.MAX_ACTIVE + 1)]
    first, snapshot = await store.find_active(async_connection, user_id="user")
    assert [change.job_id for change in first] == newest[::-1]
    assert len(first) == 200
    reader = Reader(async_connection)
    reader.position = ReadPosition(snapshot)
    assert claim(connection, oldest)
    assert await reader.read() == [oldest]


async def test_one_statement_reads_for_many_readers(connection: Connection, async_connection: AsyncConnection) -> None:
    users = [f"user-{number}" for number in range(5)]
    cursor = await async_connection.execute(NOW)
    row = await cursor.fetchone()
    assert row
    jobs = [put(connection, user_id=user) for user in users]
    readings = [Reading(user, None, ReadPosition(row["snapshot"])) for user in users]
    readings.append(Reading("nobody", new_id(), ReadPosition("")))
    pages = await store.read_changes(async_connection, readings)
    assert [[change.job_id for change in page.changes] for page in pages] == [*([job] for job in jobs), []]
    assert all(page.is_last for page in pages)


async def test_many_readers_who_have_missed_much_share_a_statement_and_miss_nothing(
    connection: Connection, async_connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_READ", store._READ.replace(f"LIMIT {store.MAX_ALL_CHANGES}", "LIMIT 25"))
    monkeypatch.setattr(store, "MAX_ALL_CHANGES", 25)
    jobs = {put(connection) for _ in range(10)}
    theirs = put(connection, user_id="other")
    positions = [ReadPosition.of_event_id(1) for _ in range(5)]
    found: list[list[UUID]] = [[] for _ in positions]
    waiting = [0, 1, 2, 3, 4]
    users = 4 * ["user"] + ["other"]
    sizes = []
    while waiting:
        readings = [Reading(users[number], None, positions[number]) for number in waiting]
        pages = dict(zip(waiting, await store.read_changes(async_connection, readings), strict=True))
        sizes.append(sum(len(page.changes) for page in pages.values()))
        for number, page in pages.items():
            positions[number] = page.position
            found[number] += [change.job_id for change in page.changes]
        waiting = [number for number, page in pages.items() if not page.is_last]
    assert sizes == [25, 16]
    assert [len(each) for each in found] == [10, 10, 10, 10, 1]
    assert [set(each) for each in found] == [*4 * [jobs], {theirs}]


async def test_progress_is_that_of_the_present_attempt(
    connection: Connection, async_connection: AsyncConnection
) -> None:
    job_id = put(connection)
    job = claim(connection, job_id)
    assert job
    assert await store.find_progress(async_connection, [job_id]) == {}
    assert worker_store.renew(connection, [Renewal(job.lease, "fetch", 40)], lease=LEASE) == {job.lease}
    found = await store.find_progress(async_connection, [job_id])
    assert (found[job_id].stage, found[job_id].percent, found[job_id].attempts) == ("fetch", 40, 1)
    connection.execute("SELECT requeue_job(%s, interval '0', NULL)", (job_id,))
    connection.execute("UPDATE jobs SET status = 'queued' WHERE job_id = %s", (job_id,))
    assert await store.find_progress(async_connection, [job_id]) == {}
    (again,) = worker_store.claim(connection, places=1, capabilities=CAPABILITIES, worker_id="w", lease=LEASE)
    assert again.job_id == job_id
    assert await store.find_progress(async_connection, [job_id]) == {}, "of the attempt before"
