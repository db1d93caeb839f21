"""Every migration keeps to the rules under which the previous release keeps working; the rules detect violations."""

from __future__ import annotations

import pytest
from tests.migration.conftest import ALL
from tests.migration.rules import faults

from pixelflow.adapters.postgres.migrate import MIGRATIONS

TRIGGER = "CREATE TRIGGER t AFTER UPDATE ON events FOR EACH ROW EXECUTE FUNCTION f();"


@pytest.mark.parametrize("name", ALL)
def test_a_migration_keeps_to_the_rules(name: str) -> None:
    assert faults((MIGRATIONS / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE a (x int PRIMARY KEY, y text NOT NULL); CREATE INDEX a_y ON a (y); INSERT INTO a SELECT 1, 'y';",
        "CREATE TABLE a (x int); ALTER TABLE a ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;",
        "ALTER TABLE jobs ADD COLUMN a text;",
        "ALTER TABLE jobs ADD COLUMN a timestamptz, ADD COLUMN b integer NOT NULL DEFAULT 0;",
        "ALTER TABLE jobs ADD COLUMN a text[], ADD COLUMN b numeric(10, 2), ADD COLUMN c jsonb DEFAULT '{}';",
        "ALTER TABLE jobs ADD COLUMN a timestamptz NOT NULL DEFAULT now();",
        "ALTER TABLE jobs ADD CONSTRAINT c CHECK (a IS NULL OR b > 0) NOT VALID;",
        "ALTER TABLE api_keys ADD COLUMN a int CHECK (a >= 1), ADD CHECK ((a IS NULL) = (b IS NULL));",
        "ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02);",
        f"LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE; LOCK TABLE events; ALTER TABLE jobs ADD COLUMN a text; {TRIGGER}",
        "INSERT INTO pending_deletions (job_id) SELECT job_id FROM jobs ON CONFLICT DO NOTHING;",
        "DELETE FROM a AS x WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.job_id = x.job_id AND erased_at IS NULL);",
        "-- DROP TABLE jobs\nCREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ DELETE FROM jobs; SELECT 1 $$;",
        "-- transactional: false\nDROP INDEX CONCURRENTLY IF EXISTS i;\nCREATE INDEX CONCURRENTLY i ON jobs (status);",
    ],
)
def test_safe_statements_pass(text: str) -> None:
    assert faults(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "DROP TABLE deliveries;",
        "ALTER TABLE jobs DROP COLUMN metadata;",
        "ALTER TABLE jobs RENAME COLUMN metadata TO words;",
        "ALTER TABLE jobs RENAME TO work;",
        "ALTER TABLE jobs ALTER COLUMN attempts TYPE bigint;",
        "ALTER TABLE jobs ALTER COLUMN webhook_url SET NOT NULL;",
        "ALTER TABLE jobs ALTER COLUMN attempts DROP DEFAULT;",
        "ALTER TABLE jobs ADD COLUMN a text NOT NULL;",
        "ALTER TABLE jobs ADD COLUMN a text, ADD COLUMN b text NOT NULL;",
        "ALTER TABLE jobs ADD COLUMN a uuid DEFAULT gen_random_uuid();",
        "ALTER TABLE jobs ADD COLUMN a bigserial;",
        "ALTER TABLE jobs ADD COLUMN a int CHECK (a > 0);",
        "ALTER TABLE jobs ADD COLUMN a uuid REFERENCES other;",
        "ALTER TABLE jobs ADD COLUMN a int GENERATED ALWAYS AS (attempts + 1) STORED;",
        "ALTER TABLE jobs ADD CONSTRAINT c CHECK (attempts >= 0);",
        "ALTER TABLE jobs ADD CHECK (attempts >= 0);",
        "ALTER TABLE api_keys ADD COLUMN a int NOT NULL CHECK (a >= 1);",
        "ALTER TABLE jobs ADD CONSTRAINT c UNIQUE (source_key);",
        "ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;",
        "CREATE INDEX i ON jobs (status);",
        "CREATE INDEX CONCURRENTLY i ON jobs (status);",
        "DROP INDEX jobs_finished;",
        "DROP INDEX CONCURRENTLY IF EXISTS jobs_finished;",
        "UPDATE jobs SET attempts = 0;",
        "DELETE FROM events;",
        "DELETE FROM events AS x WHERE NOT EXISTS (SELECT FROM events WHERE events.job_id = x.job_id);",
        "DELETE FROM events AS x WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.job_id = x.job_id) OR attempts > 0;",
        "WITH old AS (SELECT 1) UPDATE jobs SET attempts = 0;",
        "INSERT INTO jobs DEFAULT VALUES;",
        "TRUNCATE events;",
        "ALTER TABLE jobs ADD COLUMN a text; ALTER TABLE events ADD COLUMN a text;",
        f"ALTER TABLE jobs ADD COLUMN a text; {TRIGGER}",
        "ALTER TABLE jobs ADD COLUMN a text; LOCK TABLE jobs, events; ALTER TABLE events ADD COLUMN a text;",
        "CLUSTER jobs USING jobs_by_user;",
        "-- transactional: false\nCREATE INDEX CONCURRENTLY i ON jobs (status);",
        "-- transactional: false\nDROP INDEX CONCURRENTLY IF EXISTS other;\nCREATE INDEX CONCURRENTLY i ON jobs (x);",
        "-- transactional: false\nDROP INDEX CONCURRENTLY IF EXISTS jobs_finished;",
        "-- transactional: false\nALTER TABLE jobs ADD COLUMN a text;",
        "-- transactional: false\nDROP INDEX CONCURRENTLY IF EXISTS i;\nCREATE INDEX i ON jobs (status);",
    ],
)
def test_unsafe_statements_are_detected(text: str) -> None:
    assert faults(text)
