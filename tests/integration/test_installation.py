"""What the installation can do by its workers, and which jobs are refused because no worker can process them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from tests.integration.job_rows import CAPABILITIES

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, Connection
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.capabilities import worker_capabilities
from pixelflow.contracts.jobs import requests as contract
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.controlplane.capabilities import store
from pixelflow.controlplane.capabilities.service import CACHE_SECONDS, CapabilityQueries
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.errors import UnsupportedCapabilityError
from pixelflow.settings import Settings

REQUEST = CreateJobRequest.model_validate({"pipeline": [{"id": "a", "action": "resize", "width": 5}]})


def register(connection: Connection, name: str, extras: Sequence[str] = (), *, age: float = 0, newest: int = 2) -> None:
    """A worker that sent its last sign of life so many seconds ago."""
    found = [*(f"contract/{number}" for number in range(1, newest + 1)), *extras, "libvips/8.18.2"]
    worker_store.register(connection, worker_id=name, capabilities=found, slots=2, degraded=None)
    connection.execute("UPDATE workers SET seen_at = seen_at - %s * interval '1 s' WHERE worker_id = %s", (age, name))


@pytest.mark.parametrize(
    ("workers", "optional", "missing"),
    [
        pytest.param({}, ["heic"], [], id="scaled to zero"),
        pytest.param({"a": {}}, ["heic"], ["heic"], id="none has it"),
        pytest.param({"a": {}, "b": {"extras": ["heic"]}}, ["heic"], [], id="one has it"),
        pytest.param({"a": {"age": 20}}, ["heic"], [], id="none is live"),
        pytest.param({"a": {}, "b": {"extras": ["heic"], "age": 300}}, ["heic"], [], id="being restarted"),
        pytest.param({"a": {}, "b": {"extras": ["heic"], "age": 700}}, ["heic"], ["heic"], id="gone"),
        pytest.param({"a": {"extras": ["heic"]}}, ["heic", "pdf"], ["pdf"], id="one of two"),
        pytest.param({"a": {"extras": ["heic"]}, "b": {"extras": ["pdf"]}}, ["heic", "pdf"], ["heic"], id="apart"),
        pytest.param({"a": {"newest": 1}}, ["heic"], [], id="before an upgrade"),
        pytest.param({"a": {"newest": 1, "extras": ["heic"]}, "b": {}}, ["heic"], ["heic"], id="an old one has it"),
    ],
)  # fmt: skip
async def test_a_job_is_unsupported_if_workers_are_live_and_none_can_process_it(
    connection: Connection,
    async_connection: AsyncConnection,
    workers: dict[str, dict[str, object]],
    optional: list[str],
    missing: list[str],
) -> None:
    for name, worker in workers.items():
        register(connection, name, **worker)  # type: ignore[arg-type]
    assert await store.find_unsupported(async_connection, contracts=["contract/2"], optional=optional) == missing


def job_service(settings: Settings, database: AsyncDatabase) -> JobService:
    return JobService(
        settings,
        database=database,
        wakeups=WakeUpSender(settings.redis_url.get_secret_value()),
        objects=ObjectStorage(settings),
        local_files=LocalFiles(()),
    )


@pytest.mark.parametrize(
    ("requires", "detail"),
    [
        (("contract/1", "heic"), "No worker of this installation has the extra `heic`"),
        (("contract/1", "heic", "pdf"), "has all of the extras `heic` and `pdf`: `heic` and `pdf` would"),
    ],
)
async def test_such_a_job_is_not_created(
    quiet: Settings,
    connection: Connection,
    async_database: AsyncDatabase,
    monkeypatch: pytest.MonkeyPatch,
    *,
    requires: tuple[str, ...],
    detail: str,
) -> None:
    monkeypatch.setattr(contract, "required_capabilities", lambda *_, **__: requires)
    jobs = job_service(quiet, async_database)
    register(connection, "a")
    with pytest.raises(UnsupportedCapabilityError, match=detail):
        await jobs.create("user", REQUEST, job_id=new_id())
    assert connection.execute("SELECT FROM jobs").fetchall() == []


@pytest.mark.parametrize(
    ("requires", "changes"),
    [
        (("contract/1", "heic"), {"unsupported_jobs": "wait"}),
        (("contract/9",), {}),
        (("contract/9", "heic"), {}),
        (("contract/1",), {}),
    ],
)
async def test_other_jobs_wait(
    quiet: Settings,
    connection: Connection,
    async_database: AsyncDatabase,
    monkeypatch: pytest.MonkeyPatch,
    *,
    requires: tuple[str, ...],
    changes: dict[str, str],
) -> None:
    monkeypatch.setattr(contract, "required_capabilities", lambda *_, **__: requires)
    jobs = job_service(quiet.model_copy(update=changes), async_database)
    register(connection, "a")
    job_id: UUID = new_id()
    await jobs.create("user", REQUEST, job_id=job_id)
    assert connection.execute("SELECT requires FROM jobs").fetchall() == [{"requires": list(requires)}]


async def test_live_workers_are_listed_by_capabilities(
    quiet: Settings, connection: Connection, async_database: AsyncDatabase
) -> None:
    clock = [0.0]
    queries = CapabilityQueries(quiet, async_database, max_body_bytes=1, clock=lambda: clock[0])
    assert (await queries.get()).workers == []
    with_heic = worker_capabilities(["heic"], libvips="8.19.0")
    for name, capabilities, degraded in (
        ("a", CAPABILITIES, None),
        ("b", CAPABILITIES, "disk full"),
        ("c", with_heic, None),
    ):
        worker_store.register(connection, worker_id=name, capabilities=capabilities, slots=2, degraded=degraded)
    register(connection, "dead", ["pdf"], age=20)
    assert (await queries.get()).workers == [], "the answer is reused"
    clock[0] += CACHE_SECONDS
    found = await queries.get()
    assert [(each.workers, each.slots, each.degraded, each.optional, each.libvips) for each in found.workers] == [
        (2, 4, 1, [], None),
        (1, 2, 0, ["heic"], "8.19.0"),
    ]
    assert {each.name: each.workers for each in found.optional}["heic"] == 1
