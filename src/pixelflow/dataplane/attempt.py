"""One attempt at a job, from the claim to its end: fetch → wait → transform → store → finish.

Every way out of an attempt is in :meth:`Attempts.run`. Nothing here is lost by a death: what was not finished is found
by its lease.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import UUID

import structlog
from pydantic import TypeAdapter

from pixelflow.adapters.store import attempts
from pixelflow.adapters.store.attempts import ClaimedJob, OutputRow, SourceFacts, UsageRow
from pixelflow.adapters.store.database import Connection, Database
from pixelflow.adapters.telemetry.worker_metrics import AttemptEnd, WorkerMetrics
from pixelflow.contracts.pipeline import MEDIA_TYPES, Pipeline, Step
from pixelflow.contracts.problems import (
    AttemptsExhaustedError,
    JobError,
    PixelflowError,
    StoreUnavailableError,
    TransformCrashedError,
)
from pixelflow.dataplane.leases import GoodbyeError, HeldLease, LeaseLostError
from pixelflow.dataplane.protocol import Limits
from pixelflow.dataplane.retry import retry_seconds
from pixelflow.dataplane.sandbox import Assignment, Sandbox, Transformed

_FINISH_PAUSE_SECONDS = 0.5
_PIPELINE: TypeAdapter[list[Step]] = TypeAdapter(Pipeline)

_log = structlog.get_logger(__name__)


class Storage(Protocol):
    """Where a source comes from and its outputs go: object storage, or local roots."""

    def fetch(self, key: str, destination: Path, *, max_bytes: int) -> tuple[int, str]:
        """Copy a source; returns bytes and SHA-256."""

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:
        """The folder of an attempt's outputs."""

    def store(self, file: BinaryIO, key: str, *, media_type: str) -> None:
        """Keep an output."""


@dataclass(frozen=True)
class Bounds:
    """What one job may cost."""

    max_source_bytes: int
    transform: Limits


@dataclass
class Stages:
    """How long each stage of an attempt took, in milliseconds."""

    milliseconds: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Time one stage, also when it fails."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.milliseconds[name] = round((time.monotonic() - started) * 1000)


class Attempts:
    """Runs attempts; one object serves all threads of a worker."""

    def __init__(
        self,
        *,
        database: Database,
        sandbox: Sandbox,
        storages: Mapping[str, Storage],
        bounds: Bounds,
        scratch: Path,
        metrics: WorkerMetrics,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._sandbox = sandbox
        self._storages = storages
        self._bounds = bounds
        self._scratch = scratch
        self._metrics = metrics
        self._jitter = jitter

    def run(self, job: ClaimedJob, held: HeldLease) -> None:
        """Make one attempt, and write how it ended."""
        stages, started = Stages(), time.monotonic()
        end = self._run(job, held, stages)
        self._metrics.attempt_ended(
            job.source_type,
            end,
            seconds=time.monotonic() - started,
            queued_seconds=job.queued_seconds,
            stages=stages.milliseconds,
        )

    def _run(self, job: ClaimedJob, held: HeldLease, stages: Stages) -> AttemptEnd:
        log = _log.bind(job_id=str(job.job_id), attempt=job.lease_token)
        try:
            self._work(job, held, stages)
        except LeaseLostError:
            log.warning("given up: the job is no longer this worker's")
            return AttemptEnd.LOST
        except GoodbyeError:
            written = self._hand_back(job, None, stages, counted=False)
            log.info("handed back: the worker is leaving")
            return AttemptEnd.HANDED_BACK if written else AttemptEnd.LOST
        except PixelflowError as error:
            log.warning("attempt failed", code=error.code, detail=error.detail, retryable=error.retryable)
            return self._end_badly(job, error, stages)
        except Exception as error:  # a bug, or a disk that is full: neither may cost the worker its thread
            log.exception("attempt failed unexpectedly")
            crash = TransformCrashedError("Something went wrong on our side while the job was worked on")
            crash.__cause__ = error
            return self._end_badly(job, crash, stages)
        log.info("succeeded", **stages.milliseconds)
        return AttemptEnd.SUCCEEDED

    def _work(self, job: ClaimedJob, held: HeldLease, stages: Stages) -> None:
        """The stages, in order."""
        storage = self._storages[job.source_type]
        with self._private_directory() as directory:
            source = directory / "source"
            with stages.measured("fetch"):
                source_bytes, sha256 = storage.fetch(job.source_key, source, max_bytes=self._bounds.max_source_bytes)
            transformed = self._transform(job, held, source, stages)
            held.check()
            with stages.measured("store"):
                outputs = _store(job, held, transformed, storage)
        found, usage = transformed.source, _usage(source_bytes, outputs, transformed)
        succeed = partial(
            attempts.succeed,
            lease=job.lease,
            source=SourceFacts(source_bytes, sha256, found.format, found.width, found.height),
            outputs=outputs,
            usage=usage,
            stages=stages.milliseconds,
        )
        with stages.measured("finish"):
            self._write_success(held, succeed)
        self._metrics.billed(**asdict(usage), formats=[output.format for output in outputs])

    @contextmanager
    def _private_directory(self) -> Iterator[Path]:
        directory = Path(tempfile.mkdtemp(prefix="attempt-", dir=self._scratch))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _transform(self, job: ClaimedJob, held: HeldLease, source: Path, stages: Stages) -> Transformed:
        destination = source.with_name("outputs")
        destination.mkdir()
        steps = _PIPELINE.validate_python(job.pipeline)
        assignment = Assignment(source, destination, steps, self._bounds.transform)
        with ExitStack() as stack:
            with stages.measured("wait"):
                transform = stack.enter_context(self._sandbox.slot())
            held.check()
            with stages.measured("transform"):
                try:
                    return transform(assignment, held.on_child)
                except JobError:
                    held.check()  # the child died because it was killed on purpose
                    raise

    def _write_success(self, held: HeldLease, write: Callable[[Connection], bool]) -> None:
        """Write the end. Where the database is away: again, until the lease is over; the pixels are done and stored."""
        while True:
            try:
                with self._database.connection() as connection:
                    written = write(connection)
            except StoreUnavailableError:
                held.pause(_FINISH_PAUSE_SECONDS)
                continue
            if not written:
                raise LeaseLostError
            return

    def _end_badly(self, job: ClaimedJob, error: PixelflowError, stages: Stages) -> AttemptEnd:
        if error.retryable and job.attempts < job.max_attempts:
            end, written = AttemptEnd.RETRIED, self._hand_back(job, error, stages, counted=True)
        else:
            if error.retryable:
                error = AttemptsExhaustedError(f"Tried {job.attempts} times; the last time: {error.detail}")
            end, written = AttemptEnd.FAILED, self._fail(job, error, stages)
        if not written:
            return AttemptEnd.LOST
        self._metrics.attempt_failed(error.code)
        return end

    def _fail(self, job: ClaimedJob, error: PixelflowError, stages: Stages) -> bool:
        with _outcome_unwritten_is_logged(job), self._database.connection() as connection:
            return attempts.fail(connection, job.lease, error=_told(error), stages=stages.milliseconds)
        return False

    def _hand_back(self, job: ClaimedJob, error: PixelflowError | None, stages: Stages, *, counted: bool) -> bool:
        delay = timedelta(seconds=retry_seconds(job.attempts, self._jitter()) if counted else 0)
        with _outcome_unwritten_is_logged(job), self._database.connection() as connection:
            return attempts.hand_back(
                connection,
                job.lease,
                delay=delay,
                counted=counted,
                error=_told(error) if error else None,
                stages=stages.milliseconds,
            )
        return False


def _told(error: PixelflowError) -> dict[str, str | None]:
    return {
        "code": error.code,
        "message": error.detail,
        "step_id": error.step_id if isinstance(error, JobError) else None,
    }


@contextmanager
def _outcome_unwritten_is_logged(job: ClaimedJob) -> Iterator[None]:
    """Where the end of an attempt can't be written, its lease runs out and the rescuer takes the job."""
    try:
        yield
    except StoreUnavailableError:
        _log.warning("outcome not written: the database is not available", job_id=str(job.job_id))


def _usage(source_bytes: int, outputs: list[OutputRow], transformed: Transformed) -> UsageRow:
    return UsageRow(
        pixels_processed=sum(output.width * output.height for output in outputs),
        bytes_saved=max(0, source_bytes - sum(output.bytes for output in outputs)),
        compute_time_ms=transformed.compute_time_ms,
    )


def _store(job: ClaimedJob, held: HeldLease, transformed: Transformed, storage: Storage) -> list[OutputRow]:
    prefix = storage.output_prefix(job.source_key, job.job_id, job.lease_token)
    actions = {step["id"]: step["action"] for step in job.pipeline}
    rows = []
    for position, output in enumerate(transformed.outputs):
        key = f"{prefix}/{output.path.name}"
        with output.path.open("rb") as file:
            storage.store(file, key, media_type=MEDIA_TYPES[output.format])
        held.check()  # what is stored for a job that was erased meanwhile would have to be found again
        rows.append(
            OutputRow(
                step_id=output.step_id,
                position=position,
                action=actions[output.step_id],
                format=output.format,
                object_key=key,
                bytes=output.bytes,
                width=output.width,
                height=output.height,
                sha256=output.sha256,
            )
        )
    return rows
