"""What users notice while the database is locked, restarted or read-only: a real API on a real Postgres."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from tests.acceptance.running import process_of
from tests.integration.conftest import FOR_ALL_USERS
from tests.integration.identity.conftest import serving
from tests.support.waiting import assert_within, eventually

from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.controlplane.api import loop_time
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.postgres import ADMIN
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings

JOB = {"pipeline": [{"id": "small", "action": "resize", "width": 64}], "source": {"content_length": 9}}
KEY = {"name": "another", "scopes": ["jobs:read"]}
NewClient = Callable[[], httpx.Client]


@pytest.fixture
def new_client(quiet: Settings, database_url: str) -> Iterator[Callable[..., httpx.Client]]:
    """Creates clients of an API with changed settings, each with its own user; all clients use the first API."""
    urls: list[str] = []
    with ExitStack() as stack:

        def make(**changes: object) -> httpx.Client:
            if not urls:
                urls.append(stack.enter_context(serving(quiet.model_copy(update=changes))))
            key = issue_key(database_url, user_id=f"user-{uuid4()}", name="test")
            headers = {"Authorization": f"Bearer {key}"}
            client = stack.enter_context(httpx.Client(base_url=urls[0], headers=headers, timeout=30))
            eventually(lambda: client.get("/v1/jobs").status_code == 200)
            return client

        yield make


@contextmanager
def locks_of(url: str, statement: str, *values: object) -> Iterator[None]:
    """Hold the locks that a statement takes."""
    with psycopg.connect(url, options=FOR_ALL_USERS) as connection:
        connection.execute(statement, values)
        yield
        connection.rollback()


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


# ── Locks and deadlines ──────────────────────────────────────────────────────────────────────────


LOCKED = "SELECT FROM jobs WHERE job_id = %s FOR UPDATE"


def test_cancels_of_one_locked_job_do_not_delay_other_users(
    new_client: Callable[..., httpx.Client], database_url: str
) -> None:
    """They wait for as long as the others send requests."""
    one = new_client(api_lock_seconds=60, api_statement_seconds=60, api_request_seconds=60)
    other = new_client()
    job_id = one.post("/v1/jobs", json=JOB).json()["job_id"]
    with ThreadPoolExecutor(11) as threads:
        with locks_of(database_url, LOCKED, job_id):
            cancels = [threads.submit(one.post, f"/v1/jobs/{job_id}/cancel") for _ in range(11)]
            eventually(lambda: _waiting_for_locks(database_url) > 1)
            assert [other.get("/v1/jobs").status_code for _ in range(20)] == [200] * 20
            assert not any(each.done() for each in cancels)
        assert {each.result().status_code for each in cancels} == {200}


def test_requests_that_wait_for_a_lock_or_a_change_do_not_delay_others_of_their_user(
    new_client: Callable[..., httpx.Client], database_url: str
) -> None:
    one = new_client(api_lock_seconds=60, api_statement_seconds=60, api_request_seconds=60)
    other = new_client()
    job = f"/v1/jobs/{one.post('/v1/jobs', json=JOB).json()['job_id']}"
    with ThreadPoolExecutor(5) as threads:
        with locks_of(database_url, LOCKED, job.rpartition("/")[2]):
            cancels = [threads.submit(one.post, f"{job}/cancel") for _ in range(2)]
            polls = [threads.submit(one.get, job, params={"wait": 30}) for _ in range(3)]
            eventually(lambda: _waiting_for_locks(database_url) == 2)
            for _ in range(20):
                assert other.get("/v1/jobs").status_code == 200
                assert one.get("/v1/jobs").status_code == 200
            assert not any(each.done() for each in [*cancels, *polls])
        assert {each.result().status_code for each in cancels} == {200}
        assert {each.result().json()["status"] for each in polls} == {"canceled"}


def test_requests_of_one_user_wait_for_each_other_beside_other_users(
    new_client: Callable[..., httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_time, "SHARE", 1e-6)
    monkeypatch.setitem(loop_time.LoopTime.__init__.__kwdefaults__, "idle_seconds", -1.0)  # type: ignore[arg-type]
    one, other = new_client(), new_client()
    with ThreadPoolExecutor(30) as threads:
        assert other.get("/v1/jobs").status_code == 200
        reads = [threads.submit(one.get, "/v1/jobs") for _ in range(30)]
        while not all(read.done() for read in reads):
            assert other.get("/v1/jobs").status_code == 200
            time.sleep(1)  # so that it counts as active
        answers = [read.result() for read in reads]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 0 < len(refused) < 30
    for answer in refused:
        assert (*problem(answer), answer.headers["Retry-After"]) == (429, "too_many_requests", "1")


def test_a_request_waits_for_a_lock_for_a_short_time_only(
    new_client: Callable[..., httpx.Client], database_url: str
) -> None:
    client = new_client(api_lock_seconds=0.5)
    job_id = client.post("/v1/jobs", json=JOB).json()["job_id"]
    with locks_of(database_url, LOCKED, job_id):
        answer = client.post(f"/v1/jobs/{job_id}/cancel")
        assert (*problem(answer), answer.headers["Retry-After"]) == (503, "resource_busy", "1")
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200


def _waiting_for_locks(url: str) -> int:
    statement = """
        SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pixelflow-api' AND wait_event_type = 'Lock'
    """
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else 0


def test_a_request_ends_at_its_deadline_with_its_statement(
    new_client: Callable[..., httpx.Client], database_url: str
) -> None:
    client = new_client(api_request_seconds=1, api_statement_seconds=60, api_lock_seconds=60)
    with locks_of(database_url, "LOCK TABLE api_keys IN EXCLUSIVE MODE"):
        began = time.monotonic()
        assert problem(client.post("/v1/keys", json=KEY)) == (503, "deadline_exceeded")
        assert_within(2, began)
        eventually(lambda: _waiting_for_locks(database_url) == 0)  # the statement was canceled
        eventually(lambda: client.get("/v1/keys").status_code == 200)  # the connections are usable
    assert len(client.get("/v1/keys").json()["data"]) == 1


def test_a_key_is_created_once_although_the_first_request_waited_past_its_deadline(
    new_client: Callable[..., httpx.Client], database_url: str
) -> None:
    client = new_client(api_request_seconds=1, api_statement_seconds=2, api_lock_seconds=2)
    headers = {"Idempotency-Key": str(uuid4())}
    with locks_of(database_url, "LOCK TABLE api_keys IN EXCLUSIVE MODE"):
        assert problem(client.post("/v1/keys", json=KEY, headers=headers)) == (503, "deadline_exceeded")
        assert problem(client.post("/v1/keys", json=KEY, headers=headers)) == (409, "idempotency_in_progress")
    created = eventually(lambda: _created(client.post("/v1/keys", json=KEY, headers=headers)))
    assert _created(client.post("/v1/keys", json=KEY, headers=headers)) == created
    assert len(client.get("/v1/keys").json()["data"]) == 2


def _created(response: httpx.Response) -> object:
    return response.json()["key"] if response.status_code == 201 else None


# ── Restarts and failovers ───────────────────────────────────────────────────────────────────────


def restart_postgres(stack: Stack) -> None:
    postgres = process_of(stack, "postgres")
    os.kill(postgres.pid, signal.SIGINT)
    eventually(lambda: not postgres.alive)
    eventually(lambda: _accepts_connections(stack))


def _accepts_connections(stack: Stack) -> bool:
    stack._supervisor.watch_once()
    try:
        psycopg.connect(stack.environment["PIXELFLOW_DATABASE_URL"]).close()
    except psycopg.OperationalError:
        return False
    return True


async def test_the_first_use_after_a_restart_works_although_ten_idle_connections_are_dead(
    quiet_stack: Stack, database_url: str
) -> None:
    async with AsyncDatabase(database_url, max_connections=10, application="test") as database:
        async with AsyncExitStack() as held:
            for number in range(10):
                connection = await held.enter_async_context(database.connection(of_user(f"user-{number}")))
                await connection.execute("SELECT 1")
        restart_postgres(quiet_stack)
        began = time.monotonic()
        async with database.connection(of_user("user-0")) as connection:
            await connection.execute("SELECT 1")
        assert_within(0.5, began)
        await database.ping()


def test_the_first_request_after_a_restart_is_served(
    new_client: Callable[..., httpx.Client], quiet_stack: Stack
) -> None:
    clients = [new_client() for _ in range(4)]
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda number: clients[number % 4].get("/v1/jobs"), range(40)))
    restart_postgres(quiet_stack)
    began = time.monotonic()
    assert clients[0].get("/v1/jobs").status_code == 200
    assert_within(1, began)
    assert clients[1].post("/v1/jobs", json=JOB).status_code == 202


def test_a_request_during_an_outage_fails_at_once_and_the_next_one_after_it_is_served(
    new_client: Callable[..., httpx.Client], quiet_stack: Stack
) -> None:
    client = new_client()
    postgres = process_of(quiet_stack, "postgres")
    os.kill(postgres.pid, signal.SIGINT)
    eventually(lambda: not postgres.alive)
    for _ in range(5):
        began = time.monotonic()
        assert problem(client.get("/v1/jobs")) == (503, "store_unavailable")
        assert_within(0.5, began)
    eventually(lambda: _accepts_connections(quiet_stack))
    assert client.get("/v1/jobs").status_code == 200


@contextmanager
def read_only(stack: Stack) -> Iterator[None]:
    """Forbid changes, as a failover does and some managed servers do when their disk is full."""
    _alter_system(stack, "ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        yield
    finally:
        _alter_system(stack, "ALTER SYSTEM RESET default_transaction_read_only")


def _alter_system(stack: Stack, statement: str) -> None:
    url = urlsplit(stack.environment["PIXELFLOW_DATABASE_URL"])
    password = stack.home.secrets["postgres_admin"]
    with psycopg.connect(
        host=url.hostname, port=url.port, user=ADMIN, password=password, dbname="postgres", autocommit=True
    ) as admin:
        admin.execute(statement)
        admin.execute("SELECT pg_reload_conf()")


def test_a_read_only_server_is_reported_and_not_ready(
    new_client: Callable[..., httpx.Client], quiet_stack: Stack
) -> None:
    client = new_client()
    with read_only(quiet_stack):
        eventually(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/readyz").json()["checks"]["postgres"] == "unavailable"
        answer = client.post("/v1/jobs", json=JOB)
        assert (*problem(answer), answer.headers["Retry-After"]) == (503, "store_read_only", "1")
        assert client.get("/v1/jobs").status_code == 200
    eventually(lambda: client.post("/v1/jobs", json=JOB).status_code == 202)
    eventually(lambda: client.get("/readyz").status_code == 200)
