"""Use cases of assets: create, complete, show, list, delete; and what the references in a pipeline mean.

Never reads or moves the bytes of an image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from uuid import UUID

from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase, of_user
from pixelflow.adapters.storage.objects import ObjectStorage, asset_key
from pixelflow.contracts.assets import (
    Asset,
    AssetLimits,
    AssetList,
    AssetStatus,
    CreateAssetRequest,
    CreatedAsset,
    parse_asset_id,
)
from pixelflow.contracts.field_errors import validation_failed
from pixelflow.contracts.uploads import Upload
from pixelflow.controlplane.assets import store
from pixelflow.controlplane.assets.store import AssetRow
from pixelflow.errors import (
    AssetExistsError,
    FieldError,
    NotFoundError,
    SourceMissingError,
    TooManyAssetsError,
)
from pixelflow.imaging.fields import STEP_ID_PATTERN
from pixelflow.imaging.formats.registry import INPUT_FORMATS
from pixelflow.imaging.pipeline_assets import MAX_ASSETS, AssetUse, asset_uses
from pixelflow.imaging.step import Step
from pixelflow.settings import Settings

_ANY_MEDIA_TYPE = "application/octet-stream"
_DISPLAYED = frozenset(
    media_type
    for format_ in INPUT_FORMATS.values()
    if not format_.vector and not format_.pages
    for media_type in format_.media_types
)
"""Media types that downloads have as declared. Others, such as HTML and SVG, can run scripts on storage's origin."""

_NAME = re.compile(STEP_ID_PATTERN)


class AssetService:
    """The assets of one user. ``user_id`` comes from the authenticated credentials."""

    def __init__(self, settings: Settings, *, database: AsyncDatabase, objects: ObjectStorage) -> None:
        self._settings = settings
        self._database = database
        self._objects = objects

    @property
    def request_limits(self) -> AssetLimits:
        """Validation context of requests to ``create``."""
        return AssetLimits(self._settings.max_asset_bytes)

    async def create(self, user_id: str, request: CreateAssetRequest, *, asset_id: UUID) -> CreatedAsset:
        """Create a pending asset and return how to upload its file. Idempotent by ``asset_id``.

        Raises:
            AssetExistsError: the user has an asset with this name.
            TooManyAssetsError: the user's assets would exceed their number or their total size.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            row = await store.insert(
                connection,
                asset_id=asset_id,
                user_id=user_id,
                name=request.name,
                size=request.source.content_length,
                content_type=request.source.content_type,
                max_assets=self._settings.max_assets,
                max_total_bytes=self._settings.max_assets_bytes,
            )
            if row is None and await store.find(connection, asset_id=asset_id, user_id=user_id) is None:
                raise await self._refusal(connection, user_id, request.name)
        return CreatedAsset(
            asset_id=asset_id,
            name=request.name,
            upload=self._sign_upload(request, asset_id),
            complete_url=f"/v1/assets/{asset_id}/complete",
        )

    async def _refusal(
        self, connection: AsyncConnection, user_id: str, name: str
    ) -> AssetExistsError | TooManyAssetsError:
        if await store.find_by_name(connection, name=name, user_id=user_id) is not None:
            return AssetExistsError("You have an asset with this name; delete it first, or use another name")
        limits = f"{self._settings.max_assets} assets and {self._settings.max_assets_bytes} bytes"
        return TooManyAssetsError(f"You can have {limits}; delete assets that you no longer need")

    async def renew_upload(self, user_id: str, request: CreateAssetRequest, created: CreatedAsset) -> CreatedAsset:
        """Return a stored response of ``create`` with a fresh upload URL, if the asset still awaits its file.

        Raises:
            NotFoundError: the asset was deleted.
        """
        row = await self._find(user_id, created.asset_id)
        if row.ready_at is not None:
            return created
        return created.model_copy(update={"upload": self._sign_upload(request, created.asset_id)})

    def _sign_upload(self, request: CreateAssetRequest, asset_id: UUID) -> Upload:
        key = asset_key(asset_id)
        signed = self._objects.sign_upload(
            key,
            content_length=request.source.content_length,
            content_type=request.source.content_type,
            seconds=self._settings.upload_url_seconds,
        )
        return Upload(
            object_key=key,
            presigned_put_url=signed.url,
            presigned_url_state="ready",
            headers=dict(signed.headers),
            content_length=request.source.content_length,
            expires_at=signed.expires_at,
            max_bytes=request.source.content_length,
        )

    async def complete(self, user_id: str, asset_id: UUID) -> Asset:
        """Make the asset ready, after its file was uploaded. Idempotent.

        The version identifies the uploaded content: if the object is overwritten later, jobs don't use it.

        Raises:
            NotFoundError: the user has no such asset.
            SourceMissingError: nothing was uploaded, or a file of another size than declared.
            ObjectsUnavailableError: object storage does not answer.
        """
        row = await self._find(user_id, asset_id)
        if row.ready_at is None:
            uploaded = await self._objects.find(asset_key(asset_id))
            if uploaded is None:
                raise SourceMissingError("The file of the asset has not been uploaded")
            if uploaded.bytes != row.bytes:
                raise SourceMissingError(f"The uploaded file has {uploaded.bytes} bytes; {row.bytes} were declared")
            async with self._database.connection(of_user(user_id)) as connection:
                completed = await store.complete(connection, asset_id=asset_id, user_id=user_id, etag=uploaded.version)
            if completed is None:  # deleted meanwhile
                raise asset_not_found()
            row = completed
        return self._response(row)

    async def get(self, user_id: str, reference: str) -> Asset:
        """Return the asset with this name or ID, with a fresh download URL.

        Raises:
            NotFoundError: the user has no such asset.
        """
        if (asset_id := parse_asset_id(reference)) is not None:
            return self._response(await self._find(user_id, asset_id))
        if not _NAME.fullmatch(reference):  # Postgres can't compare a string with NUL
            raise asset_not_found()
        async with self._database.connection(of_user(user_id)) as connection:
            row = await store.find_by_name(connection, name=reference, user_id=user_id)
        if row is None:
            raise asset_not_found()
        return self._response(row)

    async def list_all(self, user_id: str) -> AssetList:
        """Return all assets of the user, by name."""
        async with self._database.connection(of_user(user_id)) as connection:
            rows = await store.list_all(connection, user_id=user_id)
        return AssetList(data=[to_response(row, download_url=None) for row in rows])

    async def delete(self, user_id: str, asset_id: UUID) -> None:
        """Delete the asset at once, and its bytes when no job in progress uses them.

        Raises:
            NotFoundError: the user has no such asset.
        """
        async with self._database.connection(of_user(user_id)) as connection:
            if not await store.delete(connection, asset_id=asset_id, user_id=user_id):
                raise asset_not_found()

    async def _find(self, user_id: str, asset_id: UUID) -> AssetRow:
        async with self._database.connection(of_user(user_id)) as connection:
            row = await store.find(connection, asset_id=asset_id, user_id=user_id)
        if row is None:
            raise asset_not_found()
        return row

    def _response(self, row: AssetRow) -> Asset:
        if row.ready_at is None:
            return to_response(row, download_url=None)
        displayed = (row.content_type or "").lower() in _DISPLAYED
        signed = self._objects.sign_download(
            asset_key(row.asset_id),
            media_type=row.content_type if displayed else _ANY_MEDIA_TYPE,
            file_name=row.name,
            seconds=self._settings.download_url_seconds,
            attachment=not displayed,
        )
        return to_response(row, download_url=signed.url)


def asset_not_found() -> NotFoundError:
    """Return the error for an asset that does not exist or belongs to another user: callers can't distinguish them."""
    return NotFoundError("You have no asset with this name or ID")


def to_response(row: AssetRow, *, download_url: str | None) -> Asset:
    """Convert a row to the API's asset."""
    return Asset(
        asset_id=row.asset_id,
        name=row.name,
        status=AssetStatus.PENDING if row.ready_at is None else AssetStatus.READY,
        bytes=row.bytes,
        content_type=row.content_type,
        created_at=row.created_at,
        ready_at=row.ready_at,
        download_url=download_url,
    )


# ── Assets of jobs ───────────────────────────────────────────────────────────────────────────────


async def resolve(connection: AsyncConnection, user_id: str, pipeline: Sequence[Step]) -> dict[str, UUID]:
    """Return the ID of the user's asset that each reference in the pipeline means.

    Raises:
        ValidationFailedError: the user has no ready asset of that name or ID, or the pipeline uses too many.
    """
    uses = asset_uses(pipeline)
    references = {use.reference for use in uses}
    if not references:
        return {}
    if len(references) > MAX_ASSETS:
        too_many = FieldError(pointer="/pipeline", message=f"must use at most {MAX_ASSETS} assets")
        raise validation_failed([too_many])
    by_id = {reference: asset_id for reference in references if (asset_id := parse_asset_id(reference))}
    names = sorted(references - set(by_id))
    rows = await store.resolve(connection, user_id=user_id, names=names, asset_ids=list(by_id.values()))
    found = {row.name: row.asset_id for row in rows if row.name in names}
    ready = {row.asset_id for row in rows}
    found |= {reference: asset_id for reference, asset_id in by_id.items() if asset_id in ready}
    _require_all(uses, found)
    return found


def _require_all(uses: Sequence[AssetUse], found: Mapping[str, UUID]) -> None:
    missing = [
        FieldError(
            pointer=f"/pipeline{use.pointer}", message="must be the name or ID of an asset of yours that is ready"
        )
        for use in uses
        if use.reference not in found
    ]
    if missing:
        raise validation_failed(missing)
