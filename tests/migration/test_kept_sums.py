"""Sums that a migration introduces agree with the rows from before it and with those written while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import psycopg
from tests.migration.conftest import ALL

from pixelflow.adapters.postgres.migrate import migrate

BEFORE = [name for name in ALL if name < "0005"]
FOR_ALL_USERS = "-c pixelflow.tenant_scope=everyone"


def test_usage_from_before_and_during_the_migration_is_summed(migrated_to: Callable[[Iterable[str]], str]) -> None:
    url = migrated_to(BEFORE)
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(url, autocommit=True, options=FOR_ALL_USERS) as worker:
            while not stop.is_set():
                worker.execute("INSERT INTO usage_logs VALUES (gen_random_uuid(), 'busy', 3, 2, 1)")

    with psycopg.connect(url, autocommit=True, options=FOR_ALL_USERS) as connection:
        connection.execute(
            """INSERT INTO usage_logs SELECT gen_random_uuid(), 'user' || n % 7, 9223372036854775807, n, 1 + n,
                                             now() - n * interval '11 min' FROM generate_series(1, 3000) AS n"""
        )
        writer = threading.Thread(target=write)
        writer.start()
        try:
            migrate(url)
        finally:
            stop.set()
            writer.join()
        [[differences]] = connection.execute(
            """WITH summed AS (
                   SELECT user_id, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS jobs,
                          sum(pixels_processed) AS pixels, sum(bytes_saved) AS bytes, sum(compute_time_ms) AS ms
                   FROM usage_logs GROUP BY 1, 2)
               SELECT count(*) FROM summed FULL JOIN usage_days USING (user_id, day)
               WHERE (summed.jobs, pixels, bytes, ms) IS DISTINCT FROM
                     (usage_days.jobs, pixels_processed, bytes_saved, compute_time_ms)"""
        ).fetchall()
        [[users]] = connection.execute("SELECT count(DISTINCT user_id) FROM usage_days").fetchall()
    assert (differences, users) == (0, 8)


def test_truncating_usage_forgets_the_sums_in_any_tenant_scope(migrated_to: Callable[[Iterable[str]], str]) -> None:
    url = migrated_to(ALL)
    with psycopg.connect(url, autocommit=True, options=FOR_ALL_USERS) as connection:
        connection.execute("INSERT INTO usage_logs VALUES (gen_random_uuid(), 'user', 3, 2, 1)")
        with psycopg.connect(url, autocommit=True) as without_scope:
            without_scope.execute("TRUNCATE usage_logs")
        assert connection.execute("SELECT count(*) FROM usage_days").fetchall() == [(0,)]
