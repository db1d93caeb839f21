"""Operations on assets, shared by both clients. Does no I/O."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from pydantic import ValidationError

from pixelflow.client.api_calls import delete, get, post
from pixelflow.client.arguments import require, to_path, to_uuid
from pixelflow.client.errors import ClientError, InvalidRequestError
from pixelflow.client.files import file_of
from pixelflow.client.models import Operation
from pixelflow.client.session import Session
from pixelflow.client.transfers import Progress, upload
from pixelflow.contracts.assets import Asset, AssetList, CreateAssetRequest, CreatedAsset
from pixelflow.contracts.field_errors import field_errors


def create_asset(
    session: Session, path: Path | str, *, name: str | None = None, on_progress: Progress | None = None
) -> Operation[Asset]:
    """Create an asset from the file at ``path``: pipelines can use it by its name or ID. If that fails, none remains.

    Args:
        session: of the client.
        path: of an image file.
        name: in pipelines; default: the file's name without its extension.
        on_progress: called with the bytes sent and the total; with ``AsyncClient``, from another thread.

    Raises:
        InvalidRequestError: the name is not valid; nothing was sent.
        ApiError: the API rejected the request; ``asset_exists`` if you have an asset with this name.
        TransferError: the file can't be read, or object storage rejected it.
        ConnectionFailedError: no response.
    """
    body = _asset_request(to_path(path), name).model_dump_json(exclude_unset=True).encode()
    created = yield from post(session, "/v1/assets", CreatedAsset, body)
    try:
        yield from upload(session, created.upload, path, on_progress=on_progress)
        return (yield from post(session, f"/v1/assets/{created.asset_id}/complete", Asset))
    except ClientError:
        with suppress(ClientError):
            yield from delete(session, f"/v1/assets/{created.asset_id}")
        raise


def get_asset(session: Session, asset: UUID | str) -> Operation[Asset]:
    """Return the asset with this ID or name, with a download URL.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for an asset of another user.
        ConnectionFailedError: no response.
    """
    name = asset if isinstance(asset, UUID) else require(asset, str, "asset", "the name or ID of an asset")
    return (yield from get(session, f"/v1/assets/{quote(str(name), safe='')}", Asset))


def list_assets(session: Session) -> Operation[AssetList]:
    """Return all assets, by name.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, "/v1/assets", AssetList))


def delete_asset(session: Session, asset_id: UUID | str) -> Operation[None]:
    """Delete an asset. Jobs in progress can still use it; jobs that are started later fail with ``asset_gone``.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for an asset of another user.
        ConnectionFailedError: no response.
    """
    yield from delete(session, f"/v1/assets/{to_uuid(asset_id, 'asset_id')}")


def _asset_request(path: Path, name: str | None) -> CreateAssetRequest:
    raw = {"name": path.stem if name is None else name, "source": file_of(path).declared}
    try:
        return CreateAssetRequest.model_validate(raw)
    except ValidationError as error:
        raise InvalidRequestError(
            "The request is not valid",
            field_errors(error.errors(include_url=False, include_input=False), raw, CreateAssetRequest),
        ) from None
