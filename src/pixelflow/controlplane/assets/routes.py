"""HTTP routes of assets."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Path
from pydantic import WrapValidator

from pixelflow import errors
from pixelflow.contracts.assets import Asset, AssetList, CreateAssetRequest, CreatedAsset
from pixelflow.controlplane.api import examples
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsJobs, WritesJobs
from pixelflow.controlplane.api.problems import documented, validate_body
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.idempotency.calls import IDEMPOTENCY_ERRORS, IdempotentCallOf

router = APIRouter(
    prefix="/v1/assets", tags=["assets"], route_class=AuthenticatedRoute, responses=documented(*COMMON_ERRORS)
)

# The annotation documents the body; the dependency validates it, because FastAPI can't pass a validation context.
_RawAssetRequest = Annotated[
    CreateAssetRequest, WrapValidator(lambda value, _: value), Body(openapi_examples=examples.CREATE_ASSET)
]


async def _asset_request(services: ServicesOf, body: _RawAssetRequest) -> CreateAssetRequest:
    return validate_body(CreateAssetRequest, body, context=services.assets.request_limits)


@router.post(
    "",
    status_code=201,
    summary="Create an asset",
    responses=documented(
        *IDEMPOTENCY_ERRORS,
        errors.MalformedRequestError,
        errors.AssetExistsError,
        errors.TooManyAssetsError,
        errors.BodyTooLargeError,
        errors.NotFoundError,
        errors.UnsupportedMediaTypeError,
        errors.ValidationFailedError,
    ),
)
async def create_asset(
    identity: WritesJobs,
    services: ServicesOf,
    call: IdempotentCallOf,
    asset: Annotated[CreateAssetRequest, Depends(_asset_request)],
) -> CreatedAsset:
    """Create an asset and return a URL to upload its file to. Pipelines can use it once you complete the upload."""

    async def create(asset_id: UUID) -> CreatedAsset:
        return await services.assets.create(identity.user_id, asset, asset_id=asset_id)

    async def renew(created: CreatedAsset) -> CreatedAsset:
        return await services.assets.renew_upload(identity.user_id, asset, created)

    return await call.run(identity, CreatedAsset, create, renew=renew)


@router.post(
    "/{asset_id}/complete",
    summary="Complete an asset",
    responses=documented(
        *COMMON_ERRORS,
        *IDEMPOTENCY_ERRORS,
        errors.NotFoundError,
        errors.SourceMissingError,
        errors.ObjectsUnavailableError,
    ),
)
async def complete_asset(identity: WritesJobs, services: ServicesOf, call: IdempotentCallOf, asset_id: UUID) -> Asset:
    """Make the asset ready after you uploaded its file. Completing it again has no effect.

    PixelFlow does not look into the file here: a job that uses a file that is no image fails.
    """

    async def complete(_: UUID) -> Asset:
        return await services.assets.complete(identity.user_id, asset_id)

    async def renew(_: Asset) -> Asset:
        return await services.assets.get(identity.user_id, str(asset_id))

    return await call.run(identity, Asset, complete, renew=renew)


@router.get("", summary="List assets")
async def list_assets(identity: ReadsJobs, services: ServicesOf) -> AssetList:
    """List your assets, by name."""
    return await services.assets.list_all(identity.user_id)


@router.get("/{asset_id}", summary="Show an asset", responses=documented(errors.NotFoundError))
async def get_asset(
    identity: ReadsJobs, services: ServicesOf, asset_id: Annotated[str, Path(description="ID or name of the asset.")]
) -> Asset:
    """Return the asset with this ID or name, with a fresh download URL."""
    return await services.assets.get(identity.user_id, asset_id)


@router.delete("/{asset_id}", status_code=204, summary="Delete an asset", responses=documented(errors.NotFoundError))
async def delete_asset(identity: WritesJobs, services: ServicesOf, asset_id: UUID) -> None:
    """Delete an asset. Its name is free immediately.

    Jobs in progress can still use it; its file is deleted within seconds, or a minute after the last of them ended. A
    job that is started or retried later fails with `asset_gone`.
    """
    await services.assets.delete(identity.user_id, asset_id)
