"""The request that creates a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from pixelflow.contracts.jobs.sources import TYPE_OF_FIELD, DeclaredSource, SourceType
from pixelflow.contracts.jobs.states import Priority
from pixelflow.contracts.preset_templates import ParameterValues
from pixelflow.contracts.presets import PresetReference
from pixelflow.cross_field import MISSING, CrossFieldError, fields_of, validate
from pixelflow.errors import TargetRefusedError
from pixelflow.imaging.pipeline import Pipeline

MAX_METADATA_KEYS = 32
NO_NUL_PATTERN = r"^[^\x00]*$"
"""Postgres can't store NUL in text."""
WEBHOOK_URL_PATTERN = r"^[!-~]+$"
_TYPES = tuple(SourceType)
_PARTS_OF_OBJECT = {
    "bucket": "the name that the operator gave the bucket",
    "key": "the key of the object, such as photos/1.jpg",
}


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
        Field(
            description="`s3_presigned`: you upload the source. `local_file`: the worker reads `object_key`. The other "
            "types follow from `source`, so you need not send them."
        ),
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
    auto_start: Annotated[
        bool,
        Field(
            description="Whether the job starts by itself as soon as its source is there: an upload when it has "
            "arrived, any other source at once. Without it, you start the job."
        ),
    ] = False
    destination: Annotated[
        Destination | None,
        Field(description="Where the outputs are stored, besides the service's own bucket."),
    ] = None
    pipeline: Annotated[Pipeline, Field(default_factory=list)]
    preset: Annotated[PresetReference | None, Field(description="The preset to use, instead of `pipeline`.")] = None
    parameters: Annotated[
        ParameterValues, Field(description="Parameters of the preset.", examples=[{"size": 200}])
    ] = {}

    @property
    def requires(self) -> tuple[str, ...]:
        """What a worker must be capable of to process the job."""
        source = self.source
        return required_capabilities(
            self.pipeline,
            source,
            source_type=self.source_type,
            content_type=source.content_type if source else None,
            has_destination=self.destination is not None,
        )

    @model_validator(mode="wrap")
    @classmethod
    def _check_source(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(_with_source_type(value), handler, _errors)


def _errors(request: object) -> Iterator[CrossFieldError]:
    yield from _source_errors(request)
    yield from preset_errors(request)
    if isinstance(request, CreateJobRequest) and request.destination is not None:
        yield from destination_errors(request.destination, request.pipeline, request.metadata)


def preset_errors(request: object) -> Iterator[CrossFieldError]:
    """Yield what is wrong with a request that must either have a pipeline or name a preset."""
    fields = fields_of(request)
    if fields is None:
        return
    has_pipeline = bool(fields.get("pipeline")) if isinstance(request, BaseModel) else "pipeline" in fields
    if fields.get("preset") is None:
        if not has_pipeline:
            yield ("pipeline",), MISSING
        if fields.get("parameters"):
            yield ("parameters",), "is only for a `preset`"
    elif has_pipeline:
        yield ("preset",), "can't be combined with `pipeline`; send one of them"


def _with_source_type(request: object) -> object:
    """Add the type of a source that is there already, unless the request states a type."""
    if isinstance(request, Mapping) and "source_type" not in request:
        named = _named_sources(request.get("source"))
        return {**request, "source_type": TYPE_OF_FIELD[named[0]]} if named else request
    return request


def _named_sources(source: object) -> list[str]:
    fields = fields_of(source) or {}
    return [name for name in TYPE_OF_FIELD if fields.get(name) is not None]


def _source_errors(request: object) -> Iterator[CrossFieldError]:
    fields = fields_of(request) or {}
    source_type, path = fields.get("source_type", SourceType.S3_PRESIGNED), fields.get("object_key")
    if source_type == SourceType.LOCAL_FILE:
        if path is None:
            yield ("object_key",), "is required for `local_file`: the absolute path of the source"
        elif isinstance(path, str) and path and not path.startswith("/"):
            yield ("object_key",), "must be an absolute path, such as /srv/photos/a.jpg"
    elif source_type in _TYPES and path is not None:
        yield ("object_key",), "is only for `local_file`; PixelFlow assigns the object key of an upload"
    yield from _named_source_errors(source_type, fields.get("source"))
    yield from _multipart_errors(source_type, fields_of(fields.get("source")) or {})


def _named_source_errors(source_type: object, source: object) -> Iterator[CrossFieldError]:
    fields, named = fields_of(source) or {}, _named_sources(source)
    for name in named[1:]:
        yield ("source", name), f"can't be combined with `{named[0]}`"
    if named and source_type in _TYPES and source_type != TYPE_OF_FIELD[named[0]]:
        yield ("source_type",), f"must be `{TYPE_OF_FIELD[named[0]]}`, or omitted, beside `source.{named[0]}`"
    for name, type_ in TYPE_OF_FIELD.items():
        if source_type == type_ and name not in named:
            yield ("source", name), f"is required for `{type_}`"
    if fields.get("output") is not None and "job" not in named:
        yield ("source", "output"), "is only for a source that is a `job`"
    if ("bucket" in named) is not (fields.get("key") is not None):
        missing, given = ("key", "bucket") if "bucket" in named else ("bucket", "key")
        yield ("source", missing), f"is required beside `{given}`: {_PARTS_OF_OBJECT[missing]}"
    if fields.get("content_length") is not None and named:
        yield ("source", "content_length"), "is only for an upload"


def _multipart_errors(source_type: object, fields: Mapping[str, object]) -> Iterator[CrossFieldError]:
    if fields.get("multipart") is not True:
        return
    if source_type in _TYPES and source_type != SourceType.S3_PRESIGNED:
        yield ("source", "multipart"), "is only for an upload"
    elif fields.get("content_length") is None:
        yield ("source", "content_length"), "is required for `multipart`: the size of the file in bytes"
