"""Uploads through presigned URLs: what a client declares of a file, and how it sends the file."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from pixelflow.contracts.responses import ResponseModel

SHA256_PATTERN = r"^[0-9a-f]{64}$"
MEDIA_TYPE_PATTERN = r"^[a-z]+/[A-Za-z0-9.+-]{1,64}$"
MediaType = Annotated[str, StringConstraints(pattern=MEDIA_TYPE_PATTERN, max_length=80)]


class Upload(ResponseModel):
    """How to upload the source directly to object storage."""

    object_key: str
    presigned_put_url: Annotated[
        str | None, Field(repr=False, description="URL to upload the source to. Null for `local_file`.")
    ]
    presigned_url_state: Annotated[str, Field(examples=["ready", "not_required"])]
    method: Annotated[str, Field(examples=["PUT"])] = "PUT"
    headers: Annotated[
        dict[str, str], Field(description="Headers to send with the upload, unchanged: they are signed.")
    ]
    content_length: Annotated[
        int | None,
        Field(
            description="Size of the upload in bytes: it is signed, too. HTTP clients send `Content-Length` by "
            "themselves. Null: any size."
        ),
    ] = None
    expires_at: Annotated[datetime | None, Field(description="When the upload URL expires.")]
    max_bytes: Annotated[int, Field(description="Largest source, in bytes.")]
