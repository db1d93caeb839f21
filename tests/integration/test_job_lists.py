"""Pages of jobs with many outputs: their URLs are signed between other requests."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

from tests.integration.job_rows import put

from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.objects import ObjectStorage, SignedUrl
from pixelflow.contracts.jobs.responses import JobPage
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.settings import Settings

JOBS, OUTPUTS = 100, 32


async def test_a_page_of_3200_outputs_lets_other_requests_run(
    connection: Connection, async_database: AsyncDatabase, quiet: Settings
) -> None:
    for _ in range(JOBS):
        put(connection, "succeeded")
    connection.execute(
        """
        INSERT INTO outputs (job_id, step_id, position, action, format, object_key, bytes, width, height, sha256)
        SELECT job_id, 's' || n, n, 'resize', 'webp', format('outputs/%%s/1/s%%s.webp', job_id, n), 1, 1, 1, ''
        FROM jobs CROSS JOIN generate_series(1, %s) AS n
        """,
        (OUTPUTS,),
    )
    turn = itertools.count()
    turns_of_signatures: list[int] = []

    class Objects(ObjectStorage):
        def sign_download(self, key: str, **options: Any) -> SignedUrl:  # noqa: ANN401
            turns_of_signatures.append(last_turn[0])
            return super().sign_download(key, **options)

    last_turn = [0]

    async def take_turns() -> None:
        for last_turn[0] in turn:
            await asyncio.sleep(0)

    others = asyncio.create_task(take_turns())
    queries = JobQueries(quiet, database=async_database, objects=Objects(quiet))
    page = JobPage.model_validate_json(await queries.list_newest("user", JobFilters(), limit=JOBS, cursor=None))
    others.cancel()
    assert sum(bool(output.download_url) for job in page.data for output in job.outputs) == JOBS * OUTPUTS
    assert max(Counter(turns_of_signatures).values()) == 8
