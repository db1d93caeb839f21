"""One attempt at a job, from the claim to its end: fetch → wait → transform → store → finish.

Every way out of an attempt is in :meth:`Attempts.run`. Nothing here is lost by a death: what was not finished is found
by its lease.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import IO, Protocol
from uuid import UUID

import structlog
from opentelemetry.trace import Tracer
from pydantic import TypeAdapter

from pixelflow.adapters.postgres.database import Connection, Database
from pixelflow.adapters.telemetry.tracing import Attributes, set_error, start_span
from pixelflow.contracts.errors import (
    AttemptsExhaustedError,
    JobError,
    PixelflowError,
    StoreUnavailableError,
    TransformCrashedError,
)
from pixelflow.contracts.pipeline import MEDIA_TYPES, Pipeline, Step, output_name
from pixelflow.dataplane.protocol import TransformLimits
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.dataplane.worker.leases import ActiveLease, LeaseLostError, ShutdownRequestedError
from pixelflow.dataplane.worker.metrics import AttemptOutcome, WorkerMetrics
from pixelflow.dataplane.worker.retry import retry_seconds
from pixelflow.dataplane.worker.sandbox import Sandbox, Transformed, TransformJob
from pixelflow.dataplane.worker.stages import Stages, traced_attempt
from pixelflow.dataplane.worker.store import ClaimedJob, OutputRow, SourceFacts, UsageRow

_FINISH_PAUSE_SECONDS = 0.5
_PIPELINE: TypeAdapter[list[Step]] = TypeAdapter(Pipeline)

_log = structlog.get_logger(__name__)


class Storage(Protocol):
    """Where a source comes from and its outputs go: object storage, or local roots."""

    def fetch(self, key: str, destination: Path, *, max_bytes: int) -> tuple[int, str]:
        """Copy a source; returns bytes and SHA-256."""

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:
        """The folder of an attempt's outputs."""

    def store(self, file: IO[bytes], key: str, *, media_type: str) -> None:
        """Keep an output."""


@dataclass(frozen=True)
class JobLimits:
    """What one job may cost."""

    max_source_bytes: int
    transform: TransformLimits


class AttemptRunner:
    """Runs attempts; one object serves all threads of a worker."""

    def __init__(
        self,
        *,
        database: Database,
        sandbox: Sandbox,
        storages: Mapping[str, Storage],
        bounds: JobLimits,
        scratch: Path,
        metrics: WorkerMetrics,
        tracing: Tracer,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._sandbox = sandbox
        self._storages = storages
        self._bounds = bounds
        self._scratch = scratch
        self._metrics = metrics
        self._tracing = tracing
        self._jitter = jitter

    def run(self, job: ClaimedJob, held: ActiveLease, *, claim_begun_ns: int) -> None:
        """Make one attempt, and write how it ended; ``claim_begun_ns`` is when it began, since the epoch."""
        stages, started = Stages(self._tracing), time.monotonic()
        with traced_attempt(self._tracing, job, claim_begun_ns=claim_begun_ns) as span:
            end = self._run(job, held, stages)
            span.set_attributes({"pixelflow.outcome": end})
            if stages.error_code:
                set_error(span, stages.error_code)
        self._metrics.attempt_ended(
            job.source_type,
            end,
            seconds=time.monotonic() - started,
            queued_seconds=job.queued_seconds,
            stages=stages.milliseconds,
        )

    def _run(self, job: ClaimedJob, held: ActiveLease, stages: Stages) -> AttemptOutcome:
        try:
            self._work(job, held, stages)
        except LeaseLostError:
            _log.warning("given up: the job is no longer this worker's")
            return AttemptOutcome.LOST
        except ShutdownRequestedError:
            written = self._hand_back(job, None, stages, counted=False)
            _log.info("handed back: the worker is leaving")
            return AttemptOutcome.HANDED_BACK if written else AttemptOutcome.LOST
        except PixelflowError as error:
            _log.warning(
                "attempt failed",
                code=error.code,
                reason=error.detail,
                stage=stages.latest,
                retryable=error.retryable,
            )
            return self._end_badly(job, error, stages)
        except Exception as error:  # noqa: BLE001  # a bug, or a disk that is full: neither may cost the worker its thread
            _log.exception("attempt failed unexpectedly", code=TransformCrashedError.code, stage=stages.latest)
            crash = TransformCrashedError("Something went wrong on our side while the job was worked on")
            crash.__cause__ = error
            return self._end_badly(job, crash, stages)
        _log.info("succeeded", **{f"{stage}_ms": each for stage, each in stages.milliseconds.items()})
        return AttemptOutcome.SUCCEEDED

    def _work(self, job: ClaimedJob, held: ActiveLease, stages: Stages) -> None:
        """The stages, in order."""
        storage = self._storages[job.source_type]
        with self._private_file() as source:
            with stages.measured("fetch") as span:
                source_bytes, sha256 = storage.fetch(job.source_key, source, max_bytes=self._bounds.max_source_bytes)
                span.set_attributes({"pixelflow.bytes": source_bytes})
            with closing(self._transform(job, held, source, stages)) as transformed:
                held.check()
                with stages.measured("store"):
                    outputs = _store(job, held, transformed, storage)
        found, usage = transformed.source, _usage(source_bytes, outputs, transformed)
        succeed = partial(
            worker_store.succeed,
            lease=job.lease,
            source=SourceFacts(source_bytes, sha256, found.format, found.width, found.height),
            outputs=outputs,
            usage=usage,
            stages=stages.milliseconds,
        )
        with stages.measured("finish"):
            self._write_success(held, succeed)
        self._metrics.billed(**vars(usage), formats=[output.format for output in outputs])

    @contextmanager
    def _private_file(self) -> Iterator[Path]:
        """A place that no child can reach; a file there is gone at the end, unless a child was given it."""
        path = self._scratch / f"source-{token_hex(8)}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _transform(self, job: ClaimedJob, held: ActiveLease, source: Path, stages: Stages) -> Transformed:
        steps = _PIPELINE.validate_python(job.pipeline)
        assignment = TransformJob(source, steps, self._bounds.transform)
        with ExitStack() as stack:
            with stages.measured("wait"):
                transform = stack.enter_context(self._sandbox.slot())
            held.check()
            with stages.measured("transform") as span:
                begun_ns = time.time_ns()
                try:
                    transformed = transform(assignment, held.on_child)
                except JobError:
                    held.check()  # the child died because it was killed on purpose
                    raise
                stages.tell_steps(steps, transformed, begun_ns=begun_ns)
                span.set_attributes(_found(transformed))
                return transformed

    def _write_success(self, held: ActiveLease, write: Callable[[Connection], bool]) -> None:
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

    def _end_badly(self, job: ClaimedJob, error: PixelflowError, stages: Stages) -> AttemptOutcome:
        stages.error_code = error.code
        if error.retryable and job.attempts < job.max_attempts:
            end, written = AttemptOutcome.RETRIED, self._hand_back(job, error, stages, counted=True)
        else:
            if error.retryable:
                error = AttemptsExhaustedError(f"Tried {job.attempts} times; the last time: {error.detail}")
            end, written = AttemptOutcome.FAILED, self._fail(job, error, stages)
        if not written:
            return AttemptOutcome.LOST
        self._metrics.attempt_failed(error.code)
        return end

    def _fail(self, job: ClaimedJob, error: PixelflowError, stages: Stages) -> bool:
        with (
            _outcome_unwritten_is_logged(),
            start_span(self._tracing, "finish"),
            self._database.connection() as connection,
        ):
            return worker_store.fail(connection, job.lease, error=_told(error), stages=stages.milliseconds)
        return False

    def _hand_back(self, job: ClaimedJob, error: PixelflowError | None, stages: Stages, *, counted: bool) -> bool:
        delay = timedelta(seconds=retry_seconds(job.attempts, self._jitter()) if counted else 0)
        with (
            _outcome_unwritten_is_logged(),
            start_span(self._tracing, "finish"),
            self._database.connection() as connection,
        ):
            return worker_store.hand_back(
                connection,
                job.lease,
                delay=delay,
                counted=counted,
                error=_told(error) if error else None,
                stages=stages.milliseconds,
            )
        return False


def _found(transformed: Transformed) -> Attributes:
    return {
        "pixelflow.format": transformed.source.format,
        "pixelflow.width": transformed.source.width,
        "pixelflow.height": transformed.source.height,
        "pixelflow.compute_time_ms": transformed.compute_time_ms,
    }


def _told(error: PixelflowError) -> dict[str, str | None]:
    return {
        "code": error.code,
        "message": error.detail,
        "step_id": error.step_id if isinstance(error, JobError) else None,
    }


@contextmanager
def _outcome_unwritten_is_logged() -> Iterator[None]:
    """Where the end of an attempt can't be written, its lease runs out and the rescuer takes the job."""
    try:
        yield
    except StoreUnavailableError as error:
        _log.warning("outcome not written: the database is not available", code=error.code)


def _usage(source_bytes: int, outputs: list[OutputRow], transformed: Transformed) -> UsageRow:
    return UsageRow(
        pixels_processed=sum(output.width * output.height for output in outputs),
        bytes_saved=max(0, source_bytes - sum(output.bytes for output in outputs)),
        compute_time_ms=transformed.compute_time_ms,
    )


def _store(job: ClaimedJob, held: ActiveLease, transformed: Transformed, storage: Storage) -> list[OutputRow]:
    prefix = storage.output_prefix(job.source_key, job.job_id, job.lease_token)
    actions = {step["id"]: step["action"] for step in job.pipeline}
    rows = []
    for position, output in enumerate(transformed.outputs):
        key = f"{prefix}/{output_name(output.step_id, output.format)}"
        storage.store(output.content, key, media_type=MEDIA_TYPES[output.format])
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
