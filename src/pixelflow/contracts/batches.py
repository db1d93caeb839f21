"""Batches, jobs that are created together: the requests and responses of ``/v1/batches``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, StringConstraints, model_validator

from pixelflow.contracts.jobs.destinations import Destination, destination_errors
from pixelflow.contracts.jobs.requests import NO_NUL_PATTERN, Metadata, WebhookUrl, preset_errors
from pixelflow.contracts.jobs.sources import TYPE_OF_FIELD, DeclaredSource
from pixelflow.contracts.jobs.states import Priority
from pixelflow.contracts.preset_templates import ParameterValues
from pixelflow.contracts.presets import PresetReference
from pixelflow.contracts.responses import ResponseModel
from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.pipeline import Pipeline

MAX_SOURCES = 200
"""Sources of one request, which are processed one after another within its deadline."""
MAX_JOBS = 100_000
"""Jobs of a batch: they are counted whenever it is shown."""


_OF_THE_BATCH = {"name", "sources", "close"}
"""Fields of a request that creates a batch which its jobs do not have."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class BatchSource(_Request):
    """A source of a batch, and what its job has of its own."""

    source: DeclaredSource
    metadata: Annotated[Metadata, Field(description="Added to the metadata of the batch.")] = {}


Close = Annotated[
    bool,
    Field(
        strict=True,
        description="Close the batch afterwards: it takes no more jobs, and finishes when all of its jobs have ended. "
        "With `rerun`, the request that has the last page closes it.",
    ),
]
Sources = Annotated[
    list[BatchSource],
    Field(
        max_length=MAX_SOURCES,
        description="Sources that are there already. Each becomes a job, which is started. The same source with the "
        "same metadata becomes one job of the batch, however often it is sent.",
    ),
]


class CreateBatchRequest(_Request):
    """The body of ``POST /v1/batches``: what all jobs have in common, and the first sources."""

    name: Annotated[
        str | None,
        StringConstraints(min_length=1, max_length=200, pattern=NO_NUL_PATTERN),
        Field(description="A name for people.", examples=["New card size, November"]),
    ] = None
    webhook_url: Annotated[
        WebhookUrl | None,
        Field(
            description="URL that receives a webhook when a job succeeds, fails or is canceled, and one when the batch "
            "has finished."
        ),
    ] = None
    metadata: Annotated[Metadata, Field(description="Metadata of each job.")] = {}
    priority: Annotated[Priority, Field(description="Order of the jobs among your own queued jobs.")] = Priority.NORMAL
    destination: Annotated[Destination | None, Field(description="Where the outputs of each job are stored.")] = None
    pipeline: Annotated[Pipeline, Field(default_factory=list)]
    preset: Annotated[
        PresetReference | None,
        Field(description="The preset to use, instead of `pipeline`. All jobs use the version that it names now."),
    ] = None
    parameters: Annotated[ParameterValues, Field(description="Parameters of the preset.")] = {}
    sources: Sources = []
    close: Close = False

    @property
    def job(self) -> dict[str, Any]:
        """What all jobs have in common, as the request has it."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=_OF_THE_BATCH)

    def job_fields(self, source: DeclaredSource, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Return the fields of the request that creates the job of a source, with this metadata besides."""
        raw = self.model_dump(by_alias=True, exclude_unset=True, exclude=_OF_THE_BATCH | {"pipeline"})
        raw |= {"source": source.model_dump(exclude_unset=True), "metadata": {**self.metadata, **metadata}}
        return raw | ({} if self.preset else {"pipeline": self.pipeline})

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _batch_errors)


class Rerun(_Request):
    """Earlier jobs whose sources are processed again."""

    preset: Annotated[
        PresetReference,
        Field(
            description="Your jobs of this preset that succeeded before the batch was created.", examples=["avatar@2"]
        ),
    ]
    cursor: Annotated[str | None, Field(max_length=200, description="`next_cursor` of the response before.")] = None


class AddJobsRequest(_Request):
    """The body of ``POST /v1/batches/{id}/jobs``."""

    sources: Sources = []
    rerun: Rerun | None = None
    close: Close = False

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _addition_errors)


def _batch_errors(request: object) -> Iterator[CrossFieldError]:
    yield from preset_errors(request)
    yield from _source_errors(request)
    if isinstance(request, CreateBatchRequest) and request.destination is not None:
        yield from destination_errors(request.destination, request.pipeline, request.metadata, of_batch=True)


def _addition_errors(request: object) -> Iterator[CrossFieldError]:
    fields = fields_of(request) or {}
    if fields.get("rerun") is None and not fields.get("sources"):
        yield ("sources",), "must have at least one source, unless there is a `rerun`"
    if fields.get("rerun") is not None and fields.get("sources"):
        yield ("rerun",), "can't be combined with `sources`; send one of them"
    yield from _source_errors(request)


def _source_errors(request: object) -> Iterator[CrossFieldError]:
    sources = (fields_of(request) or {}).get("sources")
    for index, entry in enumerate(sources if isinstance(sources, list) else ()):
        source = fields_of((fields_of(entry) or {}).get("source"))
        if source is not None and not any(source.get(name) is not None for name in TYPE_OF_FIELD):
            known = " or ".join(f"`{name}`" for name in TYPE_OF_FIELD)
            yield (
                ("sources", index, "source"),
                f"must be there already: name it by {known}, or create a job to upload it",
            )


class BatchCounts(ResponseModel):
    """Jobs of a batch by status."""

    created: int = 0
    queued: int = 0
    processing: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0


class BatchSummary(ResponseModel):
    """A batch, without its jobs."""

    batch_id: UUID
    name: str | None
    preset: Annotated[str | None, Field(description="Name and version of the preset. Null: the jobs have a pipeline.")]
    created_at: datetime
    canceled_at: Annotated[datetime | None, Field(description="When it was canceled. It takes no more jobs.")]
    closed_at: Annotated[
        datetime | None, Field(description="When it was closed or canceled. It takes no more jobs.")
    ] = None
    finished_at: Annotated[
        datetime | None,
        Field(description="When all of its jobs had ended after it was closed. A retry of a job does not change it."),
    ] = None


class Batch(BatchSummary):
    """The response to ``GET /v1/batches/{id}``."""

    jobs: Annotated[BatchCounts, Field(description="Number of jobs by status. Deleted jobs are not counted.")]
    total: Annotated[int, Field(description="Number of jobs.")]
    percent: Annotated[
        int, Field(ge=0, le=100, description="Finished jobs in percent, rounded down; 100 without jobs.")
    ]


class RefusedSource(ResponseModel):
    """A source that became no job of the batch."""

    index: Annotated[int | None, Field(description="Position in `sources`, from 0. Null for an earlier job.")] = None
    job_id: Annotated[UUID | None, Field(description="The earlier job, for `rerun`.")] = None
    code: Annotated[str, Field(description="Error code, as creating this job would return it.")]
    detail: str


class AddedJobs(ResponseModel):
    """The response to ``POST /v1/batches/{id}/jobs``."""

    batch_id: UUID
    accepted: Annotated[int, Field(description="Sources that are jobs of the batch now, or were before.")]
    refused: list[RefusedSource]
    next_cursor: Annotated[
        str | None, Field(description="Value of `rerun.cursor` for the next request. Null: there are no more jobs.")
    ] = None


class CreatedBatch(Batch):
    """The response to ``POST /v1/batches``."""

    refused: list[RefusedSource]


class BatchPage(ResponseModel):
    """The response to ``GET /v1/batches``, newest first."""

    data: list[BatchSummary]
    next_cursor: Annotated[str | None, Field(description="Value of `cursor` for the next page. Null on the last page.")]
