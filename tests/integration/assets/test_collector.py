"""The garbage collector of assets: bytes of deleted ones go, and no job in progress loses one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import obstore
import pytest
from tests.integration.assets.conftest import asset_request, create, upload
from tests.integration.job_rows import put

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.objects import ObjectStorage, asset_key
from pixelflow.controlplane.assets.collector import LEASE, AssetCollector
from pixelflow.controlplane.assets.service import AssetService
from pixelflow.settings import Settings

USER = "user"
GRACE = timedelta(minutes=10)
DAY = timedelta(days=1)


@pytest.fixture
def collect(quiet: Settings, async_database: AsyncDatabase) -> AssetCollector:
    return AssetCollector(async_database, ObjectStorage(quiet), pending_age=DAY, upload_grace=GRACE)


@pytest.fixture
def is_stored(quiet: Settings) -> Callable[[UUID], bool]:
    def is_stored(asset_id: UUID) -> bool:
        try:
            obstore.head(ObjectStorage(quiet)._metadata_store, asset_key(asset_id))
        except FileNotFoundError:
            return False
        return True

    return is_stored


def _age(connection: Connection, by: timedelta) -> None:
    connection.execute(
        """UPDATE assets SET created_at = created_at - %(by)s, deleted_at = deleted_at - %(by)s,
                             deletion_due_at = deletion_due_at - %(by)s""",
        {"by": by},
    )


def _count(connection: Connection) -> int:
    return len(connection.execute("SELECT FROM assets").fetchall())


async def test_bytes_go_at_once_and_the_row_when_no_upload_can_arrive(
    assets: AssetService, collect: AssetCollector, connection: Connection, is_stored: Callable[[UUID], bool]
) -> None:
    kept = await create(assets, USER, "kept")
    created = await assets.create(USER, asset_request("logo"), asset_id=new_id())
    await assets.delete(USER, created.asset_id)
    assert await collect.run_once() == 1
    assert _count(connection) == 2
    upload(created)
    assert is_stored(created.asset_id)
    _age(connection, GRACE - LEASE)
    assert await collect.run_once() == 0, "not due yet"
    _age(connection, LEASE)
    assert await collect.run_once() == 1
    assert (_count(connection), is_stored(created.asset_id), is_stored(kept)) == (1, False, True)


@pytest.mark.parametrize(
    ("status", "waits"),
    [("created", False), ("queued", True), ("processing", True), ("succeeded", False), ("failed", False)],
)
async def test_only_jobs_in_progress_keep_the_bytes_of_a_deleted_asset(  # noqa: PLR0917  # fixtures
    assets: AssetService,
    collect: AssetCollector,
    connection: Connection,
    is_stored: Callable[[UUID], bool],
    status: str,
    waits: bool,
) -> None:
    asset_id = await create(assets, USER, "logo")
    job_id = put(connection, status)
    connection.execute("INSERT INTO job_assets VALUES (%s, 'logo', %s)", (job_id, asset_id))
    await assets.delete(USER, asset_id)
    await collect.run_once()
    assert is_stored(asset_id) is waits
    if waits:
        connection.execute("UPDATE jobs SET status = 'failed', finished_at = now()")
        assert await collect.run_once() == 0, "due again after the lease"
        _age(connection, LEASE)
        assert await collect.run_once() == 1
        assert not is_stored(asset_id)


async def test_an_asset_that_is_never_completed_is_deleted(
    assets: AssetService, collect: AssetCollector, connection: Connection
) -> None:
    await create(assets, USER, "ready")
    await assets.create(USER, asset_request("pending"), asset_id=new_id())
    assert await collect.run_once() == 0
    _age(connection, DAY)
    assert await collect.run_once() == 2, "a tombstone, whose bytes are deleted"
    assert [each.name for each in (await assets.list_all(USER)).data] == ["ready"]


async def test_a_failed_deletion_is_due_again(
    assets: AssetService,
    collect: AssetCollector,
    connection: Connection,
    is_stored: Callable[[UUID], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asset_id = await create(assets, USER, "logo")
    await assets.delete(USER, asset_id)

    async def fail(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStorage, "remove", fail)
        with pytest.raises(OSError):  # noqa: PT011  # the one above
            await collect.run_once()
    assert is_stored(asset_id)
    _age(connection, LEASE)
    assert await collect.run_once() == 1
    assert not is_stored(asset_id)
