"""One attempt at a job, from claim to outcome: fetch → wait → transform → store → finish.

:meth:`AttemptRunner._run` handles every way in which an attempt can end. If the worker dies, the attempt's lease
expires and the lease reaper requeues the job.
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

_FINISH_RETRY_SECONDS = 0.5
_PIPELINE: TypeAdapter[list[Step]] = TypeAdapter(Pipeline)

_log = structlog.get_logger(__name__)


class Storage(Protocol):
    """Storage of sources and outputs: object storage, or local folders."""

    def fetch(self, key: str, destination: Path, *, max_bytes: int) -> tuple[int, str]:
        """Copy a source to ``destination``; return its size in bytes and its SHA-256."""

    def output_prefix(self, source: str, job_id: UUID, attempt: int) -> str:
        """Return the folder of an attempt's outputs."""

    def store(self, file: IO[bytes], key: str, *, media_type: str) -> None:
        """Store an output."""


@dataclass(frozen=True)
class JobLimits:
    """Limits of one job."""

    max_source_bytes: int
    transform: TransformLimits


class AttemptRunner:
    """Runs attempts; all threads of a worker share one instance."""

    def __init__(
        self,
        *,
        database: Database,
        sandbox: Sandbox,
        storages: Mapping[str, Storage],
        limits: JobLimits,
        scratch: Path,
        metrics: WorkerMetrics,
        tracer: Tracer,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._sandbox = sandbox
        self._storages = storages
        self._limits = limits
        self._scratch = scratch
        self._metrics = metrics
        self._tracer = tracer
        self._jitter = jitter

    def run(self, job: ClaimedJob, lease: ActiveLease, *, claim_start_ns: int) -> None:
        """Make one attempt and record its outcome.

        Args:
            job: the claimed job.
            lease: its lease, renewed while the attempt runs.
            claim_start_ns: when the claim started, in nanoseconds since the epoch.
        """
        stages, started = Stages(self._tracer), time.monotonic()
        with traced_attempt(self._tracer, job, claim_start_ns=claim_start_ns) as span:
            outcome = self._run(job, lease, stages)
            span.set_attributes({"pixelflow.outcome": outcome})
            if stages.error_code:
                set_error(span, stages.error_code)
        self._metrics.record_attempt(
            job.source_type,
            outcome,
            seconds=time.monotonic() - started,
            queued_seconds=job.queued_seconds,
            stages=stages.milliseconds,
        )

    def _run(self, job: ClaimedJob, lease: ActiveLease, stages: Stages) -> AttemptOutcome:
        try:
            self._run_stages(job, lease, stages)
        except LeaseLostError:
            _log.warning("attempt aborted: lease lost")
            return AttemptOutcome.LOST
        except ShutdownRequestedError:
            recorded = self._release(job, None, stages, counted=False)
            _log.info("job released: worker stopping")
            return AttemptOutcome.RELEASED if recorded else AttemptOutcome.LOST
        except PixelflowError as error:
            _log.warning(
                "attempt failed",
                code=error.code,
                reason=error.detail,
                stage=stages.latest,
                retryable=error.retryable,
            )
            return self._handle_failure(job, error, stages)
        except Exception as error:  # noqa: BLE001  # a bug or a full disk must not end the worker's thread
            _log.exception("attempt failed unexpectedly", code=TransformCrashedError.code, stage=stages.latest)
            crash = TransformCrashedError("An internal error occurred while the job was processed")
            crash.__cause__ = error
            return self._handle_failure(job, crash, stages)
        _log.info("succeeded", **{f"{stage}_ms": each for stage, each in stages.milliseconds.items()})
        return AttemptOutcome.SUCCEEDED

    def _run_stages(self, job: ClaimedJob, lease: ActiveLease, stages: Stages) -> None:
        storage = self._storages[job.source_type]
        with self._private_file() as source:
            with stages.measured("fetch") as span:
                source_bytes, sha256 = storage.fetch(job.source_key, source, max_bytes=self._limits.max_source_bytes)
                span.set_attributes({"pixelflow.bytes": source_bytes})
            with closing(self._transform(job, lease, source, stages)) as transformed:
                lease.check()
                with stages.measured("store"):
                    outputs = _store(job, lease, transformed, storage)
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
            self._record_success(lease, succeed)
        self._metrics.record_usage(**vars(usage), formats=[output.format for output in outputs])

    @contextmanager
    def _private_file(self) -> Iterator[Path]:
        """A path that no child can access; the file is removed at the end."""
        path = self._scratch / f"source-{token_hex(8)}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _transform(self, job: ClaimedJob, lease: ActiveLease, source: Path, stages: Stages) -> Transformed:
        steps = _PIPELINE.validate_python(job.pipeline)
        transform_job = TransformJob(source, steps, self._limits.transform, job.user_id)
        with ExitStack() as stack:
            with stages.measured("wait"):
                transform = stack.enter_context(self._sandbox.slot())
            lease.check()
            with stages.measured("transform") as span:
                start_ns = time.time_ns()
                try:
                    transformed = transform(transform_job, lease.set_cancel_hook)
                except JobError:
                    lease.check()  # raises if the child died because the lease was interrupted
                    raise
                stages.record_step_spans(steps, transformed, start_ns=start_ns)
                span.set_attributes(_span_attributes(transformed))
                return transformed

    def _record_success(self, lease: ActiveLease, write: Callable[[Connection], bool]) -> None:
        """Record the success; while the database is unavailable, retry until the lease ends: the outputs are stored."""
        while True:
            try:
                with self._database.connection() as connection:
                    recorded = write(connection)
            except StoreUnavailableError:
                lease.wait(_FINISH_RETRY_SECONDS)
                continue
            if not recorded:
                raise LeaseLostError
            return

    def _handle_failure(self, job: ClaimedJob, error: PixelflowError, stages: Stages) -> AttemptOutcome:
        stages.error_code = error.code
        if error.retryable and job.attempts < job.max_attempts:
            outcome, recorded = AttemptOutcome.RETRIED, self._release(job, error, stages, counted=True)
        else:
            if error.retryable:
                error = AttemptsExhaustedError(f"Attempt {job.attempts} of {job.max_attempts} failed: {error.detail}")
            outcome, recorded = AttemptOutcome.FAILED, self._fail(job, error, stages)
        if not recorded:
            return AttemptOutcome.LOST
        self._metrics.record_failure(error.code)
        return outcome

    def _fail(self, job: ClaimedJob, error: PixelflowError, stages: Stages) -> bool:
        with _log_if_unrecorded(), start_span(self._tracer, "finish"), self._database.connection() as connection:
            return worker_store.fail(connection, job.lease, error=_error_fields(error), stages=stages.milliseconds)
        return False

    def _release(self, job: ClaimedJob, error: PixelflowError | None, stages: Stages, *, counted: bool) -> bool:
        delay = timedelta(seconds=retry_seconds(job.attempts, self._jitter()) if counted else 0)
        with _log_if_unrecorded(), start_span(self._tracer, "finish"), self._database.connection() as connection:
            return worker_store.release(
                connection,
                job.lease,
                delay=delay,
                counted=counted,
                error=_error_fields(error) if error else None,
                stages=stages.milliseconds,
            )
        return False


def _span_attributes(transformed: Transformed) -> Attributes:
    return {
        "pixelflow.format": transformed.source.format,
        "pixelflow.width": transformed.source.width,
        "pixelflow.height": transformed.source.height,
        "pixelflow.compute_time_ms": transformed.compute_time_ms,
    }


def _error_fields(error: PixelflowError) -> dict[str, str | None]:
    return {
        "code": error.code,
        "message": error.detail,
        "step_id": error.step_id if isinstance(error, JobError) else None,
    }


@contextmanager
def _log_if_unrecorded() -> Iterator[None]:
    """Log that an outcome could not be recorded. The lease then expires, and the lease reaper requeues the job."""
    try:
        yield
    except StoreUnavailableError as error:
        _log.warning("outcome not recorded: database unavailable", code=error.code)


def _usage(source_bytes: int, outputs: list[OutputRow], transformed: Transformed) -> UsageRow:
    return UsageRow(
        pixels_processed=sum(output.width * output.height for output in outputs),
        bytes_saved=max(0, source_bytes - sum(output.bytes for output in outputs)),
        compute_time_ms=transformed.compute_time_ms,
    )


def _store(job: ClaimedJob, lease: ActiveLease, transformed: Transformed, storage: Storage) -> list[OutputRow]:
    prefix = storage.output_prefix(job.source_key, job.job_id, job.lease_token)
    actions = {step["id"]: step["action"] for step in job.pipeline}
    rows = []
    for position, output in enumerate(transformed.outputs):
        key = f"{prefix}/{output_name(output.step_id, output.format)}"
        storage.store(output.content, key, media_type=MEDIA_TYPES[output.format])
        lease.check()  # an output stored after the job was erased would be an orphan
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
