"""One attempt at a job, from claim to outcome: fetch → wait → transform → store → finish.

:meth:`AttemptRunner._run` handles every way in which an attempt can end. If the worker dies, the attempt's lease
expires and the lease reaper requeues the job.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog
from opentelemetry.trace import Tracer
from pydantic import TypeAdapter

from pixelflow.adapters.postgres.database import Connection, Database
from pixelflow.adapters.telemetry.tracing import Attributes, set_error, start_span
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.dataplane.worker import store as worker_store
from pixelflow.dataplane.worker.health import Reason, WorkerHealth
from pixelflow.dataplane.worker.inputs import InputFetcher
from pixelflow.dataplane.worker.leases import ActiveLease, LeaseLostError, Progress, ShutdownRequestedError
from pixelflow.dataplane.worker.metrics import AttemptOutcome, WorkerMetrics
from pixelflow.dataplane.worker.resources import is_shortage
from pixelflow.dataplane.worker.retry import MAX_SERVICE_RETRY_SECONDS, retry_seconds
from pixelflow.dataplane.worker.sandbox import Sandbox, Transformed, TransformJob
from pixelflow.dataplane.worker.stages import Stages, traced_attempt
from pixelflow.dataplane.worker.store import ClaimedJob, OutputRow, SourceFacts, UsageRow
from pixelflow.dataplane.worker.transfers import Transfers
from pixelflow.errors import (
    AttemptsExhaustedError,
    DecoderCrashedError,
    Fault,
    JobError,
    PixelflowError,
    ServiceUnavailableError,
    SourcePostponedError,
    SourceUrlUnavailableError,
    StoreUnavailableError,
    TransformCrashedError,
    TransformPostponedError,
    WorkerUnavailableError,
)
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.imaging.source_options import SourceOptions
from pixelflow.imaging.step import Step

_FINISH_RETRY_SECONDS = 0.5
POSTPONED_SECONDS = 1.0
"""Shortest delay of a job whose URL is not fetched yet because others are fetched; the longest is twice as long."""
_PIPELINE: TypeAdapter[list[Step]] = TypeAdapter(Pipeline)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class JobLimits:
    """Limits of one job."""

    transform: TransformLimits
    max_wait_seconds: float
    """How long a job waits for the service, from when it was queued: then it fails."""


class AttemptRunner:
    """Runs attempts; all threads of a worker share one instance."""

    def __init__(
        self,
        *,
        database: Database,
        sandbox: Sandbox,
        transfers: Transfers,
        health: WorkerHealth,
        limits: JobLimits,
        scratch: Path,
        metrics: WorkerMetrics,
        tracer: Tracer,
        on_end: Callable[[str], None] = lambda _: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``on_end`` is called with the owner of each job whose attempt has ended."""
        self._database = database
        self._sandbox = sandbox
        self._transfers = transfers
        self._health = health
        self._limits = limits
        self._inputs = InputFetcher(database, transfers, scratch)
        self._metrics = metrics
        self._tracer = tracer
        self._on_end = on_end
        self._jitter = jitter
        self._draining = False

    def drain(self) -> None:
        """Release jobs that do not have a slot yet as soon as they would get one; transforms in progress continue."""
        self._draining = True

    def run(self, job: ClaimedJob, lease: ActiveLease, *, claim_start_ns: int) -> None:
        """Make one attempt and record its outcome.

        A bug of the worker counts as a crash of the child, what its machine lacks does not count: without an outcome,
        the job would wait until its lease expires.

        Args:
            job: the claimed job.
            lease: its lease, renewed while the attempt runs.
            claim_start_ns: when the claim started, in nanoseconds since the epoch.

        Raises:
            Exception: a bug or a shortage outside of the attempt's stages, after the outcome has been recorded. If no
                outcome could be recorded, the lease reaper requeues the job.
        """
        try:
            self._run_measured(job, lease, claim_start_ns)
        except Exception as error:
            # Nothing of the attempt is recorded: it may be what could not be. Fenced, if it has an outcome already.
            self._handle_failure(job, lease, self._to_pixelflow_error(error), Stages(self._tracer))
            raise

    def _run_measured(self, job: ClaimedJob, lease: ActiveLease, claim_start_ns: int) -> None:
        self._metrics.record_wait(job.priority, job.queued_seconds)
        stages, started = Stages(self._tracer, on_start=partial(_show_stage, lease)), time.monotonic()
        with traced_attempt(self._tracer, job, claim_start_ns=claim_start_ns) as span:
            outcome = self._run(job, lease, stages)
            self._on_end(job.user_id)
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
            with lease.recorded():
                recorded = self._release(job, None, stages, counted=False)
            _log.info("job released: worker stopping")
            return AttemptOutcome.RELEASED if recorded else AttemptOutcome.LOST
        except PixelflowError as error:
            return self._handle_failure(job, lease, error, stages)
        except Exception as error:  # noqa: BLE001  # a bug or a full disk must not end the worker's thread
            if not is_shortage(error):
                _log.exception("attempt failed unexpectedly", code=TransformCrashedError.code, stage=stages.latest)
            return self._handle_failure(job, lease, self._to_pixelflow_error(error), stages)
        _log.info("succeeded", **{f"{stage}_ms": each for stage, each in stages.milliseconds.items()})
        return AttemptOutcome.SUCCEEDED

    def _run_stages(self, job: ClaimedJob, lease: ActiveLease, stages: Stages) -> None:
        lease.check()
        steps = _PIPELINE.validate_python(job.pipeline)
        with ExitStack() as files:
            with stages.measured("fetch") as span:
                inputs = files.enter_context(self._inputs.fetched(job, lease, steps))
                span.set_attributes({"pixelflow.bytes": inputs.bytes})
            options = SourceOptions.model_validate(job.source_options)
            transform_job = TransformJob(
                inputs.source, steps, self._limits.transform, job.user_id, inputs.assets, options
            )
            transformed = self._transform(transform_job, lease, stages)
        with closing(transformed), stages.measured("store"):
            lease.check()
            outputs = self._transfers.store(job, lease, transformed)
        found, usage = transformed.source, _usage(inputs.source_bytes, outputs, transformed)
        succeed = partial(
            worker_store.succeed,
            lease=job.lease,
            source=SourceFacts(
                inputs.source_bytes, inputs.sha256, found.format, found.width, found.height, found.frames
            ),
            outputs=outputs,
            usage=usage,
            stages=stages.milliseconds,
            warnings=[warning.model_dump(mode="json") for warning in transformed.warnings],
        )
        with stages.measured("finish"):
            self._record_success(lease, succeed)
        self._metrics.record_usage(**vars(usage), formats=[output.format for output in outputs])

    def _transform(self, job: TransformJob, lease: ActiveLease, stages: Stages) -> Transformed:
        with ExitStack() as stack:
            with stages.measured("wait"):
                transform = stack.enter_context(self._sandbox.slot())
            lease.check()
            if self._draining:
                raise ShutdownRequestedError
            with stages.measured("transform") as span:
                start_ns = time.time_ns()
                try:
                    transformed = transform(job, lease.set_cancel_hook)
                except WorkerUnavailableError:
                    self._health.record_failure(Reason.CHILD_START)
                    raise
                except JobError:
                    lease.check()  # raises if the child died because the lease was interrupted
                    raise
                self._health.record_success(Reason.CHILD_START, Reason.RESOURCES)
                stages.record_step_spans(job.steps, transformed, start_ns=start_ns)
                span.set_attributes(_span_attributes(transformed))
                return transformed

    def _record_success(self, lease: ActiveLease, write: Callable[[Connection], bool]) -> None:
        """Record the success; while the database is unavailable, retry until the lease ends: the outputs are stored."""
        while True:
            try:
                with lease.recorded(), self._database.connection() as connection:
                    recorded = write(connection)
            except StoreUnavailableError:
                self._health.record_failure(Reason.DATABASE)
                lease.wait(_FINISH_RETRY_SECONDS)
                continue
            self._health.record_success(Reason.DATABASE)
            if not recorded:
                raise LeaseLostError
            return

    def _to_pixelflow_error(self, error: Exception) -> PixelflowError:
        """Classify an unexpected exception: the machine lacks something, or a bug."""
        converted: PixelflowError
        if is_shortage(error):
            self._health.record_failure(Reason.RESOURCES)
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            converted = WorkerUnavailableError(f"The worker lacks resources: {reason}")
        else:
            converted = TransformCrashedError("An internal error occurred while the job was processed")
        converted.__cause__ = error
        return converted

    def _handle_failure(
        self, job: ClaimedJob, lease: ActiveLease, error: PixelflowError, stages: Stages
    ) -> AttemptOutcome:
        stages.error_code = error.code
        final = self._final_error(job, error, stages)
        with lease.recorded():
            if final is None:
                counted = error.fault is not Fault.SERVICE
                outcome, recorded = AttemptOutcome.RETRIED, self._release(job, error, stages, counted=counted)
            else:
                outcome, recorded = AttemptOutcome.FAILED, self._fail(job, final, stages)
        if not recorded:
            return AttemptOutcome.LOST
        _log.warning(
            "attempt failed",
            code=error.code,
            reason=error.detail,
            stage=stages.latest,
            retryable=error.retryable,
            fault=error.fault.value,
        )
        if not isinstance(error, SourcePostponedError):  # nothing failed
            self._metrics.record_failure((final or error).code)
        return outcome

    def _final_error(self, job: ClaimedJob, error: PixelflowError, stages: Stages) -> PixelflowError | None:
        """The error with which the job fails; ``None``: another attempt follows."""
        if error.fault is Fault.JOB:
            return error
        if error.fault in {Fault.CHILD, Fault.SOURCE}:
            if job.attempts < job.max_attempts:
                return None
            final = _last_failure(job, error)
            final.compute_time_ms = _failed_compute_ms(error, stages)
            return final
        if job.waited_seconds < self._limits.max_wait_seconds or isinstance(error, SourcePostponedError):
            return None  # one that is postponed waits for its turn, as in the queue, and not for the service
        return ServiceUnavailableError(f"The job waited {job.waited_seconds:.0f} s for the service: {error.detail}")

    def _fail(self, job: ClaimedJob, error: PixelflowError, stages: Stages) -> bool:
        with (
            self._log_if_unrecorded(error),
            start_span(self._tracer, "finish"),
            self._database.connection() as connection,
        ):
            return worker_store.fail(
                connection,
                job.lease,
                error=_error_fields(error),
                stages=stages.milliseconds,
                compute_time_ms=_failed_compute_ms(error, stages),
            )
        return False

    def _release(self, job: ClaimedJob, error: PixelflowError | None, stages: Stages, *, counted: bool) -> bool:
        with (
            self._log_if_unrecorded(error),
            start_span(self._tracer, "finish"),
            self._database.connection() as connection,
        ):
            return worker_store.release(
                connection,
                job.lease,
                delay=timedelta(seconds=self._delay(job, error, counted=counted)),
                counted=counted,
                error=_error_fields(error) if error else None,
                stages=stages.milliseconds,
                compute_time_ms=_failed_compute_ms(error, stages),
            )
        return False

    def _delay(self, job: ClaimedJob, error: PixelflowError | None, *, counted: bool) -> float:
        if error is None:
            return 0.0
        if counted:
            return retry_seconds(job.attempts, self._jitter())
        if isinstance(error, SourcePostponedError) and job.source_type == SourceType.URL:
            # not longer each time: the worker claims such jobs more slowly
            return POSTPONED_SECONDS * (1 + self._jitter())
        uncounted = job.lease_token - job.attempts + 1
        delay = retry_seconds(uncounted, self._jitter(), longest=MAX_SERVICE_RETRY_SECONDS)
        return max(delay, error.retry_after_seconds) if isinstance(error, TransformPostponedError) else delay

    @contextmanager
    def _log_if_unrecorded(self, failure: PixelflowError | None) -> Iterator[None]:
        """Log an outcome that could not be recorded. The lease then expires, and the lease reaper requeues the job.

        ``failure``: why the attempt failed, if it did.
        """
        try:
            yield
        except StoreUnavailableError as error:
            self._health.record_failure(Reason.DATABASE)
            why = {"failure": failure.code, "reason": failure.detail} if failure else {}
            _log.warning("outcome not recorded: database unavailable", code=error.code, **why)


def _show_stage(lease: ActiveLease, stage: str) -> None:
    lease.progress = Progress(stage)


def _last_failure(job: ClaimedJob, error: PixelflowError) -> JobError:
    """The error of a job whose last attempt failed because its child died, or the server of its source."""
    if isinstance(error, SourceUrlUnavailableError):
        return SourceUrlUnavailableError(f"{error.detail}, in each of {job.attempts} attempts")
    attempt = f"attempt {job.attempts} of {job.max_attempts}"
    if isinstance(error, TransformCrashedError) and error.signal:
        return DecoderCrashedError(
            f"The code that decodes this image crashed ({error.signal}) in {attempt}. The file is probably damaged or "
            "of an unusual kind: save it again with another program. If it is sound, send it to the operator"
        )
    return AttemptsExhaustedError(f"{attempt.capitalize()} failed: {error.detail}")


def _failed_compute_ms(error: PixelflowError | None, stages: Stages) -> int:
    """Return the processor time of a failed attempt: that of the child if it is known, else the time that it had.

    0 if the service is at fault.
    """
    if error is None or error.fault is Fault.SERVICE:
        return 0
    known = error.compute_time_ms if isinstance(error, JobError) else None
    return stages.milliseconds.get("transform", 0) if known is None else known


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


def _usage(source_bytes: int, outputs: list[OutputRow], transformed: Transformed) -> UsageRow:
    return UsageRow(
        pixels_processed=sum(output.width * output.height for output in outputs),
        bytes_saved=max(0, source_bytes - sum(output.bytes for output in outputs)),
        compute_time_ms=transformed.compute_time_ms,
    )
