"""The request that creates a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pixelflow.contracts.capabilities import required_capabilities
from pixelflow.contracts.jobs.destinations import Destination, destination_errors
from pixelflow.contracts.jobs.limits import RequestLimits
from pixelflow.contracts.jobs.sources import DeclaredSource, SourceType
from pixelflow.contracts.jobs.states import Priority
from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.errors import TargetRefusedError
from pixelflow.imaging.pipeline import Pipeline

MAX_METADATA_KEYS = 32
NO_NUL_PATTERN = r"^[^\x00]*$"
"""Postgres can't store NUL in text."""
WEBHOOK_URL_PATTERN = r"^[!-~]+$"


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _is_webhook_url(url: str) -> str:
    """Check the syntax. The addresses that the host resolves to are checked on each connection."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise PydanticCustomError("webhook_url", "must be a valid URL") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise PydanticCustomError("webhook_url", "must be an http or https URL such as https://client.example/hooks")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError("webhook_url", "must not contain a user name or password")
    if parts.fragment:
        raise PydanticCustomError("webhook_url", "must not contain a fragment")
    return url


def _is_allowed_target(url: str, info: ValidationInfo) -> str:
    if isinstance(info.context, RequestLimits):
        try:
            info.context.check_webhook_url(url)
        except TargetRefusedError as error:
            raise PydanticCustomError(error.code, error.detail) from error
    return url


WebhookUrl = Annotated[
    str,
    StringConstraints(max_length=2048, pattern=WEBHOOK_URL_PATTERN),
    AfterValidator(_is_webhook_url),
    AfterValidator(_is_allowed_target),
    Field(examples=["https://client.example/hooks/pixel-done"]),
]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL_PATTERN)],
        Annotated[str, StringConstraints(max_length=512, pattern=NO_NUL_PATTERN)],
    ],
    Field(
        max_length=MAX_METADATA_KEYS,
        description="Key-value pairs of your own. PixelFlow stores and returns them and does not interpret them.",
        examples=[{"sku": "A-17"}],
    ),
]


class CreateJobRequest(_Request):
    """The body of ``POST /v1/jobs``."""

    source_type: Annotated[
        SourceType,
        Field(description="`s3_presigned`: you upload the source. `local_file`: the worker reads `object_key`."),
    ] = SourceType.S3_PRESIGNED
    source: DeclaredSource | None = None
    object_key: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=4096,
            pattern=NO_NUL_PATTERN,
            description="Absolute path of the source. Only for `local_file`, which requires it.",
        ),
    ] = None
    webhook_url: Annotated[
        WebhookUrl | None, Field(description="URL that receives a webhook when the job succeeds, fails or is canceled.")
    ] = None
    metadata: Metadata = {}
    priority: Annotated[
        Priority,
        Field(description="Order among your own queued jobs. Your share beside other users does not depend on it."),
    ] = Priority.NORMAL
    destination: Annotated[
        Destination | None,
        Field(description="Where the outputs are stored, besides the service's own bucket."),
    ] = None
    pipeline: Pipeline

    @property
    def requires(self) -> tuple[str, ...]:
        """What a worker must be capable of to process the job."""
        source = self.source
        return required_capabilities(
            self.pipeline,
            source,
            content_type=source.content_type if source else None,
            has_destination=self.destination is not None,
        )

    @model_validator(mode="wrap")
    @classmethod
    def _check_source(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _cross_field_errors)


def _cross_field_errors(request: object) -> Iterator[CrossFieldError]:
    yield from _source_errors(request)
    if isinstance(request, CreateJobRequest) and request.destination is not None:
        yield from destination_errors(request.destination, request.pipeline, request.metadata)


def _source_errors(request: object) -> Iterator[CrossFieldError]:
    fields = fields_of(request) or {}
    source_type, path = fields.get("source_type", SourceType.S3_PRESIGNED), fields.get("object_key")
    if source_type == SourceType.LOCAL_FILE:
        if path is None:
            yield ("object_key",), "is required for `local_file`: the absolute path of the source"
        elif isinstance(path, str) and path and not path.startswith("/"):
            yield ("object_key",), "must be an absolute path, such as /srv/photos/a.jpg"
    elif source_type == SourceType.S3_PRESIGNED and path is not None:
        yield ("object_key",), "is only for `local_file`; PixelFlow assigns the object key of an upload"
