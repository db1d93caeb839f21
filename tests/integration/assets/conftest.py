"""The services of assets and jobs on quiet servers, and a step that uses an asset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast
from uuid import UUID

import httpx
import pytest

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.contracts.assets import CreateAssetRequest, CreatedAsset
from pixelflow.controlplane.assets.service import AssetService
from pixelflow.imaging.fields import AssetReference, StrictModel
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.step import Step
from pixelflow.settings import Settings

CONTENT = b"pixels of a logo"


class StampImage(StrictModel):
    """What to draw."""

    asset: AssetReference


class Stamp(Step):
    """An operation that reads an asset."""

    action: Literal["stamp"]
    image: StampImage | None = None


@pytest.fixture(autouse=True)
def stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the operation."""
    operation = Operation(model=Stamp, summary="", examples=(), asset_fields=(("image", "asset"),))
    monkeypatch.setitem(cast(dict[str, Any], OPERATIONS), "stamp", operation)


def stamps(*references: str | None) -> Sequence[Step]:
    """A pipeline that uses these assets."""
    images = [None if each is None else {"asset": each} for each in references]
    return [Stamp.model_validate({"id": "a", "action": "stamp", "image": image}) for image in images]


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
