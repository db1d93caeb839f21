"""Assets against a real database and object storage: their life, their limits, and who can use them."""

from __future__ import annotations

import asyncio

import httpx
import psycopg
import pytest
from tests.integration.assets.conftest import CONTENT, asset_request, create, overlays, upload
from tests.integration.job_rows import put
from tests.support.ports import free_port

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase, Connection, of_user
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.assets import AssetSource, CreateAssetRequest
from pixelflow.controlplane.assets import store
from pixelflow.controlplane.assets.service import AssetService, resolve
from pixelflow.errors import (
    AssetExistsError,
    NotFoundError,
    ObjectsUnavailableError,
    SourceMissingError,
    TooManyAssetsError,
    ValidationFailedError,
)
from pixelflow.imaging.operations.resize.model import Resize
from pixelflow.settings import Settings

USER, OTHER = "user", "other"


async def test_an_asset_is_ready_once_its_upload_is_completed(assets: AssetService) -> None:
    created = await assets.create(USER, asset_request("logo"), asset_id=new_id())
    pending = await assets.get(USER, "logo")
    assert (pending.asset_id, pending.status, pending.download_url) == (created.asset_id, "pending", None)
    upload(created)
    ready = await assets.complete(USER, created.asset_id)
    assert (ready.status, ready.bytes) == ("ready", len(CONTENT))
    assert ready.download_url
    assert (await asyncio.to_thread(httpx.get, ready.download_url)).content == CONTENT
    assert [each.asset_id for each in (await assets.list_all(USER)).data] == [created.asset_id]
    again = await assets.complete(USER, created.asset_id)
    assert again.ready_at == ready.ready_at


@pytest.mark.parametrize(
    ("declared", "media_type", "disposition"),
    [
        ("image/jpeg", "image/jpeg", "inline"),
        ("image/PNG", "image/PNG", "inline"),
        ("text/html", "application/octet-stream", "attachment"),
        ("image/svg+xml", "application/octet-stream", "attachment"),
        ("application/pdf", "application/octet-stream", "attachment"),
        (None, "application/octet-stream", "attachment"),
    ],
)
async def test_a_download_has_the_declared_type_only_if_it_is_of_a_raster_image(
    assets: AssetService, declared: str | None, media_type: str, disposition: str
) -> None:
    request = CreateAssetRequest(name="logo", source=AssetSource(content_length=len(CONTENT), content_type=declared))
    created = await assets.create(USER, request, asset_id=new_id())
    upload(created)
    ready = await assets.complete(USER, created.asset_id)
    assert ready.download_url
    response = await asyncio.to_thread(httpx.get, ready.download_url)
    assert response.headers["Content-Type"] == media_type
    assert response.headers["Content-Disposition"] == f'{disposition}; filename="logo"'


@pytest.mark.parametrize("reference", ["\0", "logo\n", "", "\ud800", "a" * 65])
async def test_a_reference_that_is_neither_a_name_nor_an_id_is_not_found(assets: AssetService, reference: str) -> None:
    with pytest.raises(NotFoundError):
        await assets.get(USER, reference)


async def test_the_upload_of_a_deleted_asset_is_not_renewed(assets: AssetService) -> None:
    request = asset_request("logo")
    created = await assets.create(USER, request, asset_id=new_id())
    assert (await assets.renew_upload(USER, request, created)).upload.presigned_put_url
    await assets.delete(USER, created.asset_id)
    with pytest.raises(NotFoundError):
        await assets.renew_upload(USER, request, created)


async def test_an_asset_without_its_file_can_not_be_completed(assets: AssetService) -> None:
    created = await assets.create(USER, asset_request("logo"), asset_id=new_id())
    with pytest.raises(SourceMissingError, match="not been uploaded"):
        await assets.complete(USER, created.asset_id)
    assert (await assets.get(USER, "logo")).status == "pending"


async def test_an_asset_with_a_file_of_another_size_can_not_be_completed(
    assets: AssetService, connection: Connection
) -> None:
    asset_id = await create(assets, USER, "logo")
    connection.execute("UPDATE assets SET etag = NULL, ready_at = NULL, bytes = bytes + 1")
    with pytest.raises(SourceMissingError, match="16 bytes; 17 were declared"):
        await assets.complete(USER, asset_id)


async def test_creating_is_idempotent_by_the_id_and_a_name_is_used_once(assets: AssetService) -> None:
    asset_id = new_id()
    for _ in range(2):
        assert (await assets.create(USER, asset_request("logo"), asset_id=asset_id)).asset_id == asset_id
    with pytest.raises(AssetExistsError):
        await assets.create(USER, asset_request("logo"), asset_id=new_id())
    assert (await assets.create(OTHER, asset_request("logo"), asset_id=new_id())).name == "logo"


async def test_number_and_bytes_of_a_users_assets_are_limited(assets: AssetService) -> None:
    """3 assets and 150 bytes."""
    for name in ("a", "b"):
        await assets.create(USER, asset_request(name, 70), asset_id=new_id())
    with pytest.raises(TooManyAssetsError, match="3 assets and 150 bytes"):
        await assets.create(USER, asset_request("c", 11), asset_id=new_id())
    await assets.create(USER, asset_request("c", 10), asset_id=new_id())
    await assets.delete(USER, (await assets.get(USER, "a")).asset_id)
    for name in ("a", "d"):
        asset = assets.create(USER, asset_request(name, 1), asset_id=new_id())
        if name == "a":
            await asset
        else:
            with pytest.raises(TooManyAssetsError):
                await asset
    await assets.create(OTHER, asset_request("a", 100), asset_id=new_id())


async def test_a_deleted_asset_is_gone_at_once_and_its_name_is_free(
    assets: AssetService, connection: Connection
) -> None:
    asset_id = await create(assets, USER, "logo")
    await assets.delete(USER, asset_id)
    for call in (assets.get(USER, "logo"), assets.get(USER, str(asset_id)), assets.delete(USER, asset_id),
                 assets.complete(USER, asset_id)):  # fmt: skip
        with pytest.raises(NotFoundError):
            await call
    assert (await assets.list_all(USER)).data == []
    row = connection.execute("SELECT name, content_type FROM assets").fetchone()
    assert row == {"name": "", "content_type": None}, "a tombstone holds no personal data"
    assert await create(assets, USER, "logo") != asset_id


async def test_another_users_asset_is_not_found_by_name_or_id(assets: AssetService) -> None:
    asset_id = await create(assets, USER, "logo")
    for call in (assets.get(OTHER, "logo"), assets.get(OTHER, str(asset_id)), assets.complete(OTHER, asset_id),
                 assets.delete(OTHER, asset_id)):  # fmt: skip
        with pytest.raises(NotFoundError):
            await call
    assert (await assets.list_all(OTHER)).data == []
    assert (await assets.get(USER, "logo")).asset_id == asset_id


async def test_completing_needs_object_storage_and_loses_nothing_while_it_is_away(
    assets: AssetService, quiet: Settings, async_database: AsyncDatabase
) -> None:
    created = await assets.create(USER, asset_request("logo"), asset_id=new_id())
    away = quiet.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(ObjectsUnavailableError):
        await AssetService(away, database=async_database, objects=ObjectStorage(away)).complete(USER, created.asset_id)
    assert (await assets.get(USER, "logo")).status == "pending"


# ── Assets of jobs ───────────────────────────────────────────────────────────────────────────────


async def test_names_and_ids_are_resolved_to_the_users_ready_assets(
    assets: AssetService, async_database: AsyncDatabase
) -> None:
    logo, badge = await create(assets, USER, "logo"), await create(assets, USER, "badge")
    async with async_database.connection() as connection:
        assert await resolve(connection, USER, overlays("logo", str(badge), "logo")) == {
            "logo": logo,
            str(badge): badge,
        }
        assert await resolve(connection, USER, [Resize(id="a", action="resize", width=9)]) == {}


async def test_each_place_of_a_missing_asset_is_named(assets: AssetService, async_database: AsyncDatabase) -> None:
    """Missing, pending, and of another user by name and by ID."""
    await create(assets, USER, "logo")
    await assets.create(USER, asset_request("pending"), asset_id=new_id())
    theirs = await create(assets, OTHER, "theirs")
    async with async_database.connection() as connection:
        with pytest.raises(ValidationFailedError) as raised:
            await resolve(connection, USER, overlays("logo", "pending", "theirs", str(theirs), "missing"))
    assert [error.pointer for error in raised.value.errors] == [
        f"/pipeline/{index}/image/asset" for index in (1, 2, 3, 4)
    ]
    assert len({error.message for error in raised.value.errors}) == 1, "the message does not reveal which exist"


async def test_a_pipeline_uses_at_most_8_assets(async_database: AsyncDatabase) -> None:
    async with async_database.connection() as connection:
        with pytest.raises(ValidationFailedError) as raised:
            await resolve(connection, USER, overlays(*(f"logo-{number}" for number in range(9))))
    assert [error.message for error in raised.value.errors] == ["must use at most 8 assets"]


@pytest.mark.parametrize("scope", ["user:user", "everyone"])
async def test_the_database_attaches_no_asset_of_another_user(
    assets: AssetService, connection: Connection, async_database: AsyncDatabase, scope: str
) -> None:
    mine, theirs = await create(assets, USER, "logo"), await create(assets, OTHER, "logo")
    job_id = put(connection, user_id=USER)
    tenant = of_user(USER) if scope != "everyone" else None
    async with async_database.connection(tenant) as scoped:
        await store.attach(scoped, job_id=job_id, assets={"logo": mine})
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await store.attach(scoped, job_id=job_id, assets={"other": theirs})
    rows = connection.execute("SELECT asset_id FROM job_assets").fetchall()
    assert rows == [{"asset_id": mine}]
