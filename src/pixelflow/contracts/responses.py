"""What clients read: models that accept answers of newer releases.

A newer release may add fields, and values to every field of type ``Open``. Neither makes an older client fail. Requests
stay strict: a service that ignored a field would do something else than it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from pixelflow.errors import FieldError

T = TypeVar("T")

Open = Annotated[T | str, Field(union_mode="left_to_right")]
"""One of the known values ``T``, or any other string: a later release may add values."""


class ResponseModel(BaseModel):
    """A document that PixelFlow writes. Fields of a newer release are in ``model_extra``, and are written again."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Return the known fields only: an unknown one may be a secret, such as a presigned URL."""
        known = type(self).model_fields
        return ((name, value) for name, value in super().__repr_args__() if name in known)


class JobWarning(ResponseModel):
    """What you should know of a job that succeeded."""

    code: Annotated[str, Field(description="Stable code of the warning.", examples=["source_damaged"])]
    message: str
    step_id: Annotated[str | None, Field(description="The step that it is about, if it is about one.")] = None


class Problem(ResponseModel):
    """The body of every error: ``application/problem+json`` (RFC 9457)."""

    type: Annotated[
        str, Field(description="Path of a page of the API about the `code` (RFC 9457).", examples=["/errors/not_found"])
    ]
    title: Annotated[str, Field(description="Summary of the error type.")]
    status: Annotated[int, Field(description="HTTP status.")]
    detail: Annotated[str, Field(description="What is wrong in this request.")]
    code: Annotated[str, Field(description="Stable error code for programs.")]
    request_id: Annotated[str, Field(description="ID of the request, for support and logs.")]
    errors: Annotated[
        list[FieldError] | None, Field(description="Every invalid field. Only for `validation_failed`.")
    ] = None
