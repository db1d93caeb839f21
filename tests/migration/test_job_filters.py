"""Filters that a migration inserts for the jobs that are there, while one of them is erased."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from tests.integration.conftest import FOR_ALL_USERS
from tests.integration.job_rows import put
from tests.migration.conftest import ALL

from pixelflow.adapters.postgres.database import Connection
from pixelflow.adapters.postgres.migrate import migrate

ERASE = "UPDATE jobs SET erased_at = now(), status = 'canceled', finished_at = now(), metadata = '{}' WHERE job_id = %s"


def test_a_job_that_is_erased_during_the_migration_leaves_no_digest(
    migrated_to: Callable[[Iterable[str]], str],
) -> None:
    url = migrated_to(name for name in ALL if name < "0014")

    def connect() -> Connection:
        return psycopg.connect(url, row_factory=dict_row, options=FOR_ALL_USERS)

    with connect() as reading, connect() as erasing:
        reading.autocommit = True
        erased, kept = (put(reading, "created", metadata=Jsonb({"sku": "A-17"})) for _ in range(2))
        migrated_to(name for name in ALL if name < "0015")
        erasing.execute(ERASE, (erased,))
        migrated_to(name for name in ALL if name < "0016")
        erasing.commit()
        filtered = "SELECT job_id FROM job_filters ORDER BY job_id"
        assert {row["job_id"] for row in reading.execute(filtered)} == {erased, kept}, "what the last file is for"
        migrate(url)
        assert [row["job_id"] for row in reading.execute(filtered)] == [kept]
