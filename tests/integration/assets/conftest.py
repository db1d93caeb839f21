"""The service of assets on quiet servers, and pipelines that use assets."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import httpx
import pytest

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.assets import CreateAssetRequest, CreatedAsset
from pixelflow.controlplane.assets.service import AssetService
from pixelflow.imaging.operations.overlay.model import Overlay
from pixelflow.imaging.step import Step
from pixelflow.settings import Settings

CONTENT = b"pixels of a logo"


def overlays(*references: str) -> Sequence[Step]:
    """A pipeline that uses these assets."""
    return [
        Overlay.model_validate({"id": "a", "action": "overlay", "image": {"asset": reference}})
        for reference in references
    ]


@pytest.fixture
def assets_settings(quiet: Settings) -> Settings:
    return quiet.model_copy(update={"max_assets": 3, "max_asset_bytes": 100, "max_assets_bytes": 150})


@pytest.fixture
def assets(assets_settings: Settings, connection: Connection, async_database: AsyncDatabase) -> AssetService:
    """On empty tables. The database has access to all users, so each refusal is the service's own."""
    connection.execute("TRUNCATE assets, job_assets")
    return AssetService(assets_settings, database=async_database, objects=ObjectStorage(assets_settings))


def asset_request(name: str, size: int = len(CONTENT)) -> CreateAssetRequest:
    """A request for an asset of that size."""
    return CreateAssetRequest.model_validate({"name": name, "source": {"content_length": size}})


def upload(created: CreatedAsset) -> None:
    """Upload its file."""
    url, headers = created.upload.presigned_put_url, created.upload.headers
    assert url
    httpx.put(url, headers=headers, content=CONTENT).raise_for_status()


async def create(assets: AssetService, user_id: str, name: str) -> UUID:
    """A ready asset."""
    created = await assets.create(user_id, asset_request(name), asset_id=new_id())
    upload(created)
    await assets.complete(user_id, created.asset_id)
    return created.asset_id
