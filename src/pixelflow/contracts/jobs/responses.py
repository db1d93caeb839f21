"""Responses about jobs."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.contracts.jobs.states import AttemptResult, JobStatus, Priority
from pixelflow.contracts.presets import JobPreset
from pixelflow.contracts.responses import JobWarning, Open, ResponseModel
from pixelflow.contracts.uploads import Upload
from pixelflow.imaging.step import SOURCE


class CreatedJob(ResponseModel):
    """The response to ``POST /v1/jobs``."""

    job_id: UUID
    status: Open[JobStatus] = JobStatus.CREATED
    upload: Upload
    start_url: Annotated[
        str, Field(description="Path to POST to once the source is uploaded. Not needed with `auto_start`.")
    ]


class StartedJob(ResponseModel):
    """The response to ``POST /v1/jobs/{id}/start``."""

    job_id: UUID
    status: Open[JobStatus]
    queue: str
    task_id: UUID
    enqueued_at: datetime


class Source(ResponseModel):
    """The source of a job: the declared properties, and those that the worker measured."""

    type: Open[SourceType]
    object_key: Annotated[str, Field(description="Key of the object, or the path of a local file. Empty for a URL.")]
    bucket: Annotated[
        str | None, Field(description="The named bucket that the object is in. Null for other types.")
    ] = None
    job_id: Annotated[
        UUID | None, Field(description="The earlier job that the file belongs to. Null if it belongs to this job.")
    ] = None
    output: Annotated[
        str | None, Field(description="The step of the earlier job whose output this is. Null for its source.")
    ] = None
    url: Annotated[
        str | None, Field(description="The URL that the file is fetched from, without its query. Null for other types.")
    ] = None
    bytes: Annotated[int | None, Field(description="Size in bytes.")] = None
    content_type: Annotated[str | None, Field(description="Declared media type.")] = None
    sha256: Annotated[
        str | None, Field(description="SHA-256 of the file, in hex. Null until a worker has read the file.")
    ] = None
    format: Annotated[str | None, Field(description="Format detected in the file.", examples=["jpeg"])] = None
    width: Annotated[int | None, Field(description="Width in pixels, in display orientation.")] = None
    height: Annotated[int | None, Field(description="Height in pixels, in display orientation.")] = None
    frames: Annotated[int | None, Field(description="Frames or pages in the file.")] = None
    options: dict[str, Any] = Field(default_factory=dict, repr=False, description="How to read the file.")
    expired_at: Annotated[datetime | None, Field(description="When the file was deleted. Null while it exists.")] = None


_EXTENSION = re.compile(r"\.([a-z0-9]{1,8})\Z")


class Output(ResponseModel):
    """One output file of a job."""

    step_id: str
    action: str
    format: Annotated[str, Field(description="Format of the file.", examples=["webp"])]
    object_key: str
    bytes: Annotated[int, Field(description="Size in bytes.")]
    width: Annotated[int | None, Field(description="Width in pixels. Null for an output that is not an image.")] = None
    height: Annotated[int | None, Field(description="Height in pixels. Null for an output that is not an image.")] = (
        None
    )
    sha256: Annotated[str, Field(description="SHA-256 of the file, in hex.")]
    url: Annotated[
        str | None,
        Field(
            description="Final URL at the job's destination, which never changes. Null without a destination, and if "
            "its bucket has no public URL."
        ),
    ] = None
    destination_key: Annotated[
        str | None, Field(description="Key at the job's destination. Null without a destination.")
    ] = None
    download_url: Annotated[
        str | None,
        Field(
            repr=False,
            description="Presigned download URL. Null for a file under a local root and for an expired one.",
        ),
    ]
    expired_at: Annotated[datetime | None, Field(description="When the file was deleted. Null while it exists.")] = None

    @property
    def extension(self) -> str:
        """The file name extension of the output, without the dot: at most eight letters and digits."""
        found = _EXTENSION.search(self.object_key)
        return found[1] if found else "bin"


class JobFailure(ResponseModel):
    """Why a job, or its latest attempt, failed."""

    code: Annotated[str, Field(description="Stable error code.")]
    message: str
    step_id: Annotated[str | None, Field(description="The step that failed, if a step did.")] = None


class JobAttempt(ResponseModel):
    """One attempt at a job."""

    attempt: Annotated[int, Field(description="Number of the attempt, counted over all runs of the job.")]
    worker: Annotated[
        str | None, Field(description="Name of the worker process, the same for all attempts that it made.")
    ] = None
    started_at: datetime
    ended_at: Annotated[datetime | None, Field(description="Null while the attempt runs.")] = None
    outcome: Annotated[
        Open[AttemptResult] | None,
        Field(
            description="`succeeded`; `failed`: the job failed with it; `retried`: another attempt follows; `lost`: "
            "the worker died; `canceled`. Null while the attempt runs."
        ),
    ] = None
    error: Annotated[
        JobFailure | None,
        Field(description="Why it failed. Null for `lost`, and for `retried` if the worker was stopped."),
    ] = None


class Usage(ResponseModel):
    """The usage that a job is billed for."""

    pixels_processed: Annotated[int, Field(description="Sum of width × height over all outputs.")]
    bytes_saved: Annotated[int, Field(description="Bytes of the source minus the bytes of all outputs, at least 0.")]
    compute_time_ms: Annotated[int, Field(description="CPU time of the transform in milliseconds, at least 1.")]


class JobStep(ResponseModel):
    """A step of a job's pipeline in its normal form: colors are ``#rrggbb``, and ``jpg`` is ``jpeg``.

    ``model_extra`` has the other fields of its action.
    """

    id: str
    action: Annotated[str, Field(examples=["resize"])]
    from_: Annotated[str, Field(alias="from", description="Input of the step: `source`, or the id of a step.")] = SOURCE
    output: Annotated[bool, Field(description="Whether the job returns the output.")] = True
    format: Annotated[
        str | None, Field(description="Format of the output. Default: the format of the step's input.")
    ] = None


class JobDestination(ResponseModel):
    """Where the outputs of a job are stored, besides the service's own bucket."""

    bucket: Annotated[str, Field(description="Name that the operator gave the bucket.")]
    key: Annotated[str, Field(description="Template of each output's key.")]
    cache_control: str | None = None
    content_disposition: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    acl: str | None = None
    overwrite: bool = False


class Job(ResponseModel):
    """The response to ``GET /v1/jobs/{id}``."""

    job_id: UUID
    status: Open[JobStatus]
    source: Source
    pipeline: Annotated[list[JobStep], Field(description="The steps, with the fields that the client set.")]
    preset: Annotated[
        JobPreset | None,
        Field(description="The preset that the pipeline was made from. Null: the request had the pipeline itself."),
    ] = None
    destination: Annotated[JobDestination | None, Field(description="As the request has it.")] = None
    webhook_url: str | None
    metadata: dict[str, str]
    batch_id: Annotated[UUID | None, Field(description="The batch that created the job.")] = None
    priority: Annotated[Open[Priority], Field(description="Order among the user's queued jobs.")] = Priority.NORMAL
    auto_start: Annotated[
        bool, Field(description="Whether the job starts by itself as soon as its source is there.")
    ] = False
    waiting_for: Annotated[
        list[str] | None,
        Field(
            description="Capabilities that the job requires and no live worker has; the job waits for such a worker. "
            "Null if a worker can process it, or if it is not queued."
        ),
    ] = None
    attempts: Annotated[int, Field(description="Attempts in the current run. A retry resets it to 0.")]
    max_attempts: Annotated[int, Field(description="Largest number of attempts in one run.")]
    history: Annotated[
        list[JobAttempt] | None,
        Field(
            description="The latest attempts of all runs, at most 20, oldest first; they are kept for 90 days by "
            "default. Those that only waited for their turn at a source (`source_postponed`) are left out. Null in "
            "lists of jobs."
        ),
    ] = None
    created_at: datetime
    queued_at: datetime | None
    started_at: Annotated[datetime | None, Field(description="When the latest attempt started.")]
    finished_at: datetime | None
    outputs: list[Output]
    error: JobFailure | None
    warnings: list[JobWarning] = Field(default_factory=list, description="What to know of a job that succeeded.")
    usage: Usage | None
    expires_at: Annotated[
        datetime | None,
        Field(
            description="When the job's files, or an unstarted job, will be deleted. Null while the job is queued or "
            "processing, and if nothing is scheduled for deletion."
        ),
    ] = None


class JobPage(ResponseModel):
    """The response to ``GET /v1/jobs``, newest first."""

    data: list[Job]
    next_cursor: Annotated[str | None, Field(description="Value of `cursor` for the next page. Null on the last page.")]
