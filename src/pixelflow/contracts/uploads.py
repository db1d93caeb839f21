"""Uploads through presigned URLs: what a client declares of a file, and how it sends the file."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from pixelflow.contracts.responses import ResponseModel

SHA256_PATTERN = r"^[0-9a-f]{64}$"
MEDIA_TYPE_PATTERN = r"^[a-z]+/[A-Za-z0-9.+-]{1,64}$"
MediaType = Annotated[str, StringConstraints(pattern=MEDIA_TYPE_PATTERN, max_length=80)]


class UploadPart(ResponseModel):
    """A part of the file that is not there yet."""

    number: Annotated[int, Field(description="From 1.")]
    url: Annotated[
        str, Field(repr=False, description="URL for a PUT of the part, with no headers. It expires with the upload.")
    ]
    offset: Annotated[int, Field(description="Where the part begins in the file, in bytes.")]
    content_length: Annotated[int, Field(description="Size of the part in bytes: it is signed.")]


class MultipartUpload(ResponseModel):
    """An upload in parts, which you can send in any order and at the same time.

    Repeating the request that created the job, with its `Idempotency-Key`, returns fresh URLs of the missing parts.
    """

    part_size: Annotated[int, Field(description="Size of each part in bytes; the last one is smaller.")]
    parts: Annotated[list[UploadPart], Field(description="The parts to send.")]


class Upload(ResponseModel):
    """How to upload the source directly to object storage."""

    object_key: str
    presigned_put_url: Annotated[
        str | None,
        Field(repr=False, description="URL to upload the source to. Null for `local_file` and for `multipart`."),
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
    multipart: Annotated[
        MultipartUpload | None, Field(description="The parts to upload, if you asked for `multipart`.")
    ] = None
    expires_at: Annotated[datetime | None, Field(description="When the upload URL expires.")]
    max_bytes: Annotated[int, Field(description="Largest source, in bytes.")]
