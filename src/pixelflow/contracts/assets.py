"""Assets, the pictures that a user keeps for pipelines: the requests and responses of ``/v1/assets``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StringConstraints, ValidationInfo
from pydantic_core import PydanticCustomError

from pixelflow.contracts.responses import Open, ResponseModel
from pixelflow.contracts.uploads import MediaType, Upload
from pixelflow.imaging.fields import STEP_ID_PATTERN


class AssetStatus(StrEnum):
    """The status of an asset."""

    PENDING = "pending"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class AssetLimits:
    """Validation context of ``CreateAssetRequest``: the limits that the operator sets."""

    max_bytes: int


def parse_asset_id(reference: str) -> UUID | None:
    """Return the ID if a reference to an asset is one; otherwise it is a name."""
    try:
        return UUID(reference)
    except ValueError:
        return None


def _is_not_an_id(name: str) -> str:
    if parse_asset_id(name) is not None:
        raise PydanticCustomError("asset_name", "must not be a UUID; steps could not tell the name from an ID")
    return name


def _within_limit(content_length: int, info: ValidationInfo) -> int:
    limits = info.context
    if isinstance(limits, AssetLimits) and content_length > limits.max_bytes:
        raise PydanticCustomError("asset_too_large", f"must be at most {limits.max_bytes} bytes")
    return content_length


AssetName = Annotated[
    str,
    StringConstraints(pattern=STEP_ID_PATTERN),
    AfterValidator(_is_not_an_id),
    Field(description="Name of the asset in pipelines, unique among your assets.", examples=["logo"]),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AssetSource(_Request):
    """Properties of the file that the client will upload. They are signed into the upload URL."""

    content_length: Annotated[
        StrictInt,
        Field(ge=1, description="Size of the file in bytes.", examples=[18204]),
        AfterValidator(_within_limit),
    ]
    content_type: Annotated[MediaType | None, Field(description="Media type of the file.", examples=["image/png"])] = (
        None
    )


class CreateAssetRequest(_Request):
    """The body of ``POST /v1/assets``."""

    name: AssetName
    source: AssetSource


class Asset(ResponseModel):
    """A picture that pipelines can use by its name or ID. Its content never changes."""

    asset_id: UUID
    name: str
    status: Annotated[Open[AssetStatus], Field(description="`pending` until the upload is completed, then `ready`.")]
    bytes: Annotated[int, Field(description="Size in bytes.")]
    content_type: Annotated[str | None, Field(description="Declared media type.")]
    created_at: datetime
    ready_at: Annotated[datetime | None, Field(description="When the upload was completed. Null: pending.")]
    download_url: Annotated[
        str | None,
        Field(repr=False, description="Presigned download URL. Null in lists, and while the asset is pending."),
    ] = None


class CreatedAsset(ResponseModel):
    """The response to ``POST /v1/assets``."""

    asset_id: UUID
    name: str
    status: Open[AssetStatus] = AssetStatus.PENDING
    upload: Upload
    complete_url: Annotated[str, Field(description="Path to POST to once the file is uploaded.")]


class AssetList(ResponseModel):
    """The response to ``GET /v1/assets``, by name."""

    data: list[Asset]
