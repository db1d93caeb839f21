"""What a worker tells of its attempts. What it counts, it counts after the database has taken it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pixelflow.adapters.telemetry.metrics import ProcessMetrics
from pixelflow.contracts.errors import (
    AttemptsExhaustedError,
    ObjectsUnavailableError,
    OutOfMemoryError,
    TransformCrashedError,
    TransformTimeoutError,
)
from pixelflow.contracts.jobs import SourceType

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)
"""From 5 ms: a stage of a small picture, and about what a job may cost beside its pixels. To 300 s: beyond the 180 s
that a transform may take. Steps of three at most, so that a quantile read from them is of the right size."""
QUEUE_STAGE = "queue"
STAGES = (QUEUE_STAGE, "fetch", "wait", "transform", "store", "finish")
ALARMING = tuple(
    error.code
    for error in (
        AttemptsExhaustedError,
        ObjectsUnavailableError,
        OutOfMemoryError,
        TransformCrashedError,
        TransformTimeoutError,
    )
)
"""Codes of which few are worth a look. They are told from the start: what begins at 1 has not grown by 1."""


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """And the job with it."""
    RETRIED = "retried"
    """It failed, and another one follows."""
    LOST = "lost"
    """The job was no longer this worker's, or the outcome could not be written."""
    HANDED_BACK = "handed_back"
    """The worker said goodbye; the attempt does not count."""


class WorkerMetrics:
    """The counters of one worker process; safe in all its threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.process = ProcessMetrics(registry, role="worker")
        self._attempts(registry)
        self._usage(registry)
        self._room(registry)
        self._rejected = Counter(
            "pixelflow_queue_messages_rejected_total",
            "Messages on the queue that were none of ours; they are set aside in Redis.",
            registry=registry,
        )

    def _attempts(self, registry: CollectorRegistry) -> None:
        self._jobs = Counter(
            "pixelflow_worker_jobs_total",
            "Attempts at jobs by how they ended: succeeded, failed (and the job with it), retried (failed, another one "
            "follows), lost (the job was taken away or canceled, or the outcome could not be written), handed_back "
            "(the worker was told to stop).",
            ["source_type", "status"],
            registry=registry,
        )
        for source_type in SourceType:
            for end in AttemptOutcome:
                self._jobs.labels(source_type, end)
        self._job_seconds = Histogram(
            "pixelflow_worker_job_duration_seconds",
            "Seconds from a job's claim to the end of the attempt, however it ended.",
            ["source_type"],
            buckets=SECONDS,
            registry=registry,
        )
        self._stages = Histogram(
            "pixelflow_worker_stage_duration_seconds",
            "Seconds of each stage of an attempt, to the millisecond: queue (due until claimed), fetch (the source), "
            "wait (for a slot), transform, store (the outputs), finish (writing the end).",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self._failures = Counter(
            "pixelflow_worker_failures_total",
            "Attempts that failed, by the code of the error that was written; the last attempt of a job that was to be "
            "tried again counts as attempts_exhausted.",
            ["code"],
            registry=registry,
        )
        for code in ALARMING:
            self._failures.labels(code)

    def _usage(self, registry: CollectorRegistry) -> None:
        self._outputs = Counter(
            "pixelflow_worker_pipeline_outputs_total",
            "Outputs of succeeded jobs, by format.",
            ["format"],
            registry=registry,
        )
        self._pixels = Counter(
            "pixelflow_usage_pixels_processed_total",
            "Pixels of the outputs of succeeded jobs: the sum of pixels_processed in usage_logs.",
            registry=registry,
        )
        self._saved = Counter(
            "pixelflow_usage_bytes_saved_total",
            "Bytes by which outputs of succeeded jobs were smaller than their sources: the sum of bytes_saved in "
            "usage_logs.",
            registry=registry,
        )
        self._compute = Counter(
            "pixelflow_usage_compute_time_ms_total",
            "Milliseconds of processor time that transforms of succeeded jobs took: the sum of compute_time_ms in "
            "usage_logs.",
            registry=registry,
        )

    def _room(self, registry: CollectorRegistry) -> None:
        self._active = Gauge(
            "pixelflow_worker_active_jobs", "Transforms that are under way in this worker.", registry=registry
        )
        self._slots = Gauge(
            "pixelflow_worker_slots",
            "Transforms that this worker may have under way: PIXELFLOW_WORKER_MAX_ACTIVE_JOBS.",
            registry=registry,
        )
        self._children = Counter(
            "pixelflow_worker_children_started_total",
            "Transform children started: the first ones, and one for each that ended, was killed or did its thousand "
            "transforms.",
            registry=registry,
        )

    def has_slots(self, slots: int, active: Callable[[], int]) -> None:
        """So many transforms may be under way; ``active`` says how many are, and is asked at each scrape."""
        self._slots.set(slots)
        self._active.set_function(active)

    def child_started(self) -> None:
        """A transform child was started."""
        self._children.inc()

    def message_rejected(self) -> None:
        """A message on the queue was none of ours."""
        self._rejected.inc()

    def attempt_ended(
        self, source_type: str, end: AttemptOutcome, *, seconds: float, queued_seconds: float, stages: Mapping[str, int]
    ) -> None:
        """An attempt is over, and what there was to write is written.

        Args:
            source_type: of the job.
            end: how it ended.
            seconds: since the claim.
            queued_seconds: before the claim, since the job was due.
            stages: milliseconds of each stage that it came to.
        """
        self._jobs.labels(source_type, end).inc()
        self._job_seconds.labels(source_type).observe(seconds)
        self._stages.labels(QUEUE_STAGE).observe(queued_seconds)
        for stage, milliseconds in stages.items():
            self._stages.labels(stage).observe(milliseconds / 1000)

    def attempt_failed(self, code: str) -> None:
        """An attempt's failure was written."""
        self._failures.labels(code).inc()

    def billed(self, *, pixels_processed: int, bytes_saved: int, compute_time_ms: int, formats: Iterable[str]) -> None:
        """A job's success was written, with what it is billed by and the formats of its outputs."""
        self._pixels.inc(pixels_processed)
        self._saved.inc(bytes_saved)
        self._compute.inc(compute_time_ms)
        for output_format in formats:
            self._outputs.labels(output_format).inc()
