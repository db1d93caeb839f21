"""An API that is older than a job's release, as during a rolling upgrade, lists, shows, retries and cancels the job."""

from __future__ import annotations

from uuid import UUID

import obstore
import pytest
from psycopg.types.json import Jsonb
from tests.integration.job_rows import put

from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.jobs.responses import JobPage
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.settings import Settings

STEPS = [{"id": "small", "action": "posterize", "levels": [2, {"red": 4}], "format": "jxs", "from": "source"}]


@pytest.fixture
def queries(quiet: Settings, connection: Connection, async_database: AsyncDatabase) -> JobQueries:
    del connection  # empties the tables first
    return JobQueries(quiet, database=async_database, objects=ObjectStorage(quiet))


def put_newer(connection: Connection, status: str) -> UUID:
    return put(
        connection,
        status,
        pipeline=Jsonb(STEPS),
        source_format="heic",
        requires=["contract/9", "jxs"],
        error=Jsonb({"code": "source_encrypted", "message": "It is encrypted", "step_id": None, "internal": "x"}),
    )


@pytest.mark.parametrize("status", ["created", "queued", "failed", "canceled"])
async def test_a_newer_job_is_shown_and_listed(queries: JobQueries, connection: Connection, status: str) -> None:
    job_id = put_newer(connection, status)
    shown = await queries.get("user", job_id)
    page = JobPage.model_validate_json(await queries.list_newest("user", JobFilters(), limit=10, cursor=None))
    assert page.data == [shown.model_copy(update={"history": None})]
    answer = shown.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert (answer["pipeline"], answer["source"]["format"]) == (STEPS, "heic")
    assert answer["error"] == {"code": "source_encrypted", "message": "It is encrypted", "step_id": None}


async def test_an_output_of_an_unknown_format_can_be_downloaded(queries: JobQueries, connection: Connection) -> None:
    job_id = put_newer(connection, "succeeded")
    connection.execute(
        """
        INSERT INTO outputs (job_id, position, step_id, action, format, object_key, bytes, width, height, sha256)
        VALUES (%s, 0, 'small', 'posterize', 'jxs', 'outputs/x/1/small.jxs', 1, 1, 1, repeat('0', 64))
        """,
        (job_id,),
    )
    [output] = (await queries.get("user", job_id)).outputs
    assert (output.format, output.extension, output.model_extra) == ("jxs", "jxs", {})
    assert output.download_url is not None
    assert "small.jxs" in output.download_url
    assert "response-content-type" not in output.download_url


async def test_a_newer_job_is_retried_and_canceled(
    quiet: Settings, connection: Connection, async_database: AsyncDatabase, queries: JobQueries
) -> None:
    objects = ObjectStorage(quiet)
    async with WakeUpSender(quiet.redis_url.get_secret_value()) as wakeups:
        jobs = JobService(quiet, database=async_database, wakeups=wakeups, objects=objects, local_files=LocalFiles(()))
        job_id = put_newer(connection, "failed")
        connection.execute("UPDATE jobs SET source_key = %s WHERE job_id = %s", (source_key(job_id), job_id))
        obstore.put(objects._metadata_store, source_key(job_id), b"source")
        assert (await jobs.retry("user", job_id, traceparent=None)).status == "queued"
        assert (await queries.get("user", job_id)).waiting_for == ["contract/9", "jxs"]
        assert (await jobs.cancel("user", job_id)).status == "canceled"
