"""Each process's credentials, tried against what the process must not do, on the dev stack's servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import LiteralString
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg import sql
from tests.integration.identity.test_tenant_scope import OF_USERS
from tests.support.databases import new_database
from tests.support.signed_requests import Target, send

from pixelflow.adapters.postgres.grants import ROLES as GRANTED
from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.devstack.home import ROLES
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings, SettingsError

each_role = pytest.mark.parametrize("role", ROLES)
DATABASE = "PIXELFLOW_DATABASE_URL"


NEW_JOB: LiteralString = """
    INSERT INTO jobs (job_id, user_id, source_type, source_key, pipeline, max_attempts)
    VALUES (gen_random_uuid(), 'u', 'local_file', '/etc/passwd', '[]', 5)
"""
NEW_EVENT: LiteralString = """
    INSERT INTO events (event_id, job_id, run, user_id, type, url)
    VALUES ('e', gen_random_uuid(), 1, 'u', 'job.completed', 'http://169.254.169.254/')
"""


@contextmanager
def connected(stack: Stack, role: str, scope: str = "everyone") -> Iterator[psycopg.Connection]:
    options = f"-c pixelflow.tenant_scope={scope}"
    url = stack.environment_of(role)[DATABASE]
    with psycopg.connect(url, autocommit=True, options=options) as connection:
        yield connection


def is_refused(stack: Stack, role: str, statement: LiteralString) -> bool:
    """Whether the role lacks the right; any other error of the statement fails the test."""
    with connected(stack, role) as connection:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False


# ── Postgres ─────────────────────────────────────────────────────────────────────────────────────


@each_role
def test_a_role_owns_nothing_and_has_no_attribute_that_widens_its_rights(stack: Stack, role: str) -> None:
    with connected(stack, role) as connection:
        row = connection.execute(
            """SELECT rolname, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication,
                      (SELECT count(*) FROM pg_class WHERE relowner = pg_roles.oid),
                      (SELECT count(*) FROM pg_auth_members WHERE member = pg_roles.oid)
               FROM pg_roles WHERE rolname = current_user"""
        ).fetchone()
    assert row == (f"pixelflow_{role}", False, 0, 0)


@each_role
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE jobs (id int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "TRUNCATE jobs CASCADE",
        "TRUNCATE usage_logs",
        "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY in_tenant_scope ON jobs",
        "DROP TABLE jobs",
        "ALTER FUNCTION make_event() SECURITY INVOKER",
        "CREATE TRIGGER mine AFTER UPDATE ON jobs EXECUTE FUNCTION make_event()",
        "GRANT SELECT ON schema_migrations TO PUBLIC",
        "SELECT * FROM schema_migrations",
        "SET ROLE pixelflow",
        "COPY jobs TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
        "UPDATE usage_logs SET pixels_processed = 0",
        "DELETE FROM usage_logs",
        "INSERT INTO usage_days VALUES ('u', current_date, 1, 1, 1, 1)",
        "UPDATE usage_days SET jobs = 0",
        "DELETE FROM usage_days",
    ],
)
def test_no_role_changes_the_schema_or_what_users_are_billed_by(
    stack: Stack, role: str, statement: LiteralString
) -> None:
    assert is_refused(stack, role, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT FROM api_keys",
        "SELECT * FROM find_api_key('any')",
        "SELECT FROM webhook_secrets",
        "SELECT FROM idempotency_keys",
        "SELECT FROM events",
        "SELECT FROM deliveries",
        NEW_EVENT,
        "DELETE FROM jobs",
        NEW_JOB,
        "SELECT webhook_url FROM jobs",
        "SELECT metadata FROM jobs",
        "UPDATE jobs SET webhook_url = 'http://169.254.169.254/'",
        "UPDATE jobs SET user_id = 'another'",
        "UPDATE jobs SET source_key = 'uploads/of/another'",
        "UPDATE jobs SET source_url = 'http://169.254.169.254/'",
        "UPDATE jobs SET pipeline = '[]'",
        "SELECT FROM outputs",
        "UPDATE outputs SET object_key = 'k'",
        "DELETE FROM attempts",
        "INSERT INTO pending_deletions VALUES (gen_random_uuid(), 'job', 0, now())",
    ],
)
def test_a_worker_reads_no_secret_and_changes_no_request(stack: Stack, statement: LiteralString) -> None:
    assert is_refused(stack, "worker", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT FROM api_keys",
        "SELECT * FROM find_api_key('any')",
        "SELECT ciphertext FROM idempotency_keys",
        "DELETE FROM webhook_secrets",
        NEW_JOB,
    ],
)
def test_a_controller_reads_no_key_and_creates_no_job(stack: Stack, statement: LiteralString) -> None:
    assert is_refused(stack, "controller", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM jobs",
        "DELETE FROM api_keys",
        "DELETE FROM pending_deletions",
        "INSERT INTO usage_logs VALUES (gen_random_uuid(), 'u', 1, 1, 1)",
        "INSERT INTO outputs VALUES (gen_random_uuid(), 's', 0, 'resize', 'png', 'k', 1, 1, 1, 'x')",
        "INSERT INTO deliveries (delivery_id) VALUES (gen_random_uuid())",
    ],
)
def test_an_api_deletes_no_job_and_bills_nobody(stack: Stack, statement: LiteralString) -> None:
    assert is_refused(stack, "api", statement)


@each_role
@pytest.mark.parametrize("table", sorted(OF_USERS))
def test_row_level_security_holds_for_each_role(stack: Stack, role: str, table: str) -> None:
    """A role sees no row without a tenant scope, of the tables that it may read."""
    with connected(stack, role, scope="") as connection:
        try:
            rows = connection.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(table))).fetchall()
        except psycopg.errors.InsufficientPrivilege:
            return
    assert rows == []


def test_each_file_of_grants_is_of_a_process() -> None:
    assert {path.stem for path in GRANTED.iterdir()} == {f"pixelflow_{role}" for role in ROLES}


def test_rights_that_no_file_names_are_revoked_by_the_next_migration(stack: Stack) -> None:
    with new_database(stack) as url:
        said: list[str] = []
        migrate(url, echo=said.append)
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("GRANT DELETE ON api_keys TO pixelflow_worker")
            assert migrate(url) == []
            row = owner.execute("SELECT has_table_privilege('pixelflow_worker', 'api_keys', 'DELETE')").fetchone()
        assert (row, said) == ((False,), [])


def test_a_server_without_the_roles_is_migrated_all_the_same(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a managed database where nobody may create roles."""
    folder = tmp_path_factory.mktemp("roles")
    (folder / "nobody_has_this.sql").write_text("GRANT SELECT ON jobs TO nobody_has_this")
    monkeypatch.setattr("pixelflow.adapters.postgres.grants.ROLES", folder)
    with new_database(stack) as url:
        said: list[str] = []
        assert migrate(url, echo=said.append)
    assert said == ["Skipped the grants of roles that do not exist: nobody_has_this"]


# ── Valkey ───────────────────────────────────────────────────────────────────────────────────────


@each_role
@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("KEYS", "*"),
        ("SHUTDOWN",),
        ("SLOWLOG", "GET"),
        ("REPLICAOF", "NO", "ONE"),
        ("CLIENT", "LIST"),
        ("MONITOR",),
        ("PUBLISH", "channel", "message"),
        ("SET", "another", "1"),
        ("GET", "another"),
        ("EVAL", "return redis.call('GET', 'another')", "0"),
    ],
    ids=" ".join,
)
def test_no_process_administers_valkey_or_uses_keys_of_others(
    stack: Stack, role: str, command: tuple[str, ...]
) -> None:
    with (
        redis.Redis.from_url(stack.environment_of(role)["PIXELFLOW_REDIS_URL"]) as client,
        pytest.raises(redis.ResponseError, match=r"(?i)no permissions|can't access|ACL failure"),
    ):
        client.execute_command(*command)


@pytest.mark.parametrize("role", ["worker", "controller"])
def test_only_the_api_counts_requests(stack: Stack, role: str) -> None:
    with (
        redis.Redis.from_url(stack.environment_of(role)["PIXELFLOW_REDIS_URL"]) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.set("pixelflow:limit:user", 0)


def test_a_worker_waits_on_the_list_that_the_api_pushes_to(stack: Stack) -> None:
    key = "pixelflow:wakeups:test"
    with (
        redis.Redis.from_url(stack.environment_of("api")["PIXELFLOW_REDIS_URL"]) as api,
        redis.Redis.from_url(stack.environment_of("worker")["PIXELFLOW_REDIS_URL"]) as worker,
    ):
        with api.pipeline(transaction=False) as pipeline:
            pipeline.lpush(key, "wake up").ltrim(key, 0, 999).expire(key, 60)
            pipeline.execute()
        assert worker.brpop([key], timeout=1) == (key.encode(), b"wake up")
        worker.ltrim(key, 1, 0)


# ── S3 server ────────────────────────────────────────────────────────────────────────────────────


@each_role
def test_each_process_signs_with_keys_of_its_own(stack: Stack, role: str) -> None:
    target = Target.of(stack.environment_of(role))
    others = [Target.of(stack.environment_of(each)) for each in ROLES if each != role]
    assert target.access_key not in {each.access_key for each in others}
    url = target.presign("PUT", f"uploads/{uuid4()}/source")
    assert send("PUT", url, b"hello").status == 200


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────


def _settings(environment: Mapping[str, str]) -> Settings:
    return Settings.model_validate(
        {name.removeprefix("PIXELFLOW_").lower(): each for name, each in environment.items()}
    )


def test_a_worker_has_no_key_of_encrypted_secrets(stack: Stack) -> None:
    with pytest.raises(SettingsError):
        _settings(stack.environment_of("worker")).require_secrets_keys()
    for role in ("api", "controller"):
        assert _settings(stack.environment_of(role)).require_secrets_keys()


@each_role
def test_no_process_gets_the_credentials_of_another(stack: Stack, role: str) -> None:
    passwords = {
        urlsplit(stack.environment_of(each)[name]).password
        for each in [*ROLES, ""]
        for name in (DATABASE, "PIXELFLOW_REDIS_URL")
        if each != role
    }
    assert not passwords & {urlsplit(value).password for value in stack.environment_of(role).values()} - {None}
