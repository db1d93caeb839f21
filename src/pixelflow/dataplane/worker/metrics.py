"""Prometheus metrics of a worker. Outcomes and usage are counted after the database has recorded them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pixelflow.adapters.telemetry.metrics import ProcessMetrics
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.contracts.jobs.states import PRIORITY_RANKS, Priority
from pixelflow.dataplane.worker.health import Reason
from pixelflow.errors import (
    AttemptsExhaustedError,
    DecoderCrashedError,
    ObjectsUnavailableError,
    OutOfMemoryError,
    ServiceUnavailableError,
    TransformCrashedError,
    TransformTimeoutError,
    WorkerUnavailableError,
)

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)
"""Histogram buckets. From 5 ms, the length of a stage of a small image and about the overhead of a job, to 300 s,
beyond the 180 s limit of a transform. Ratios are at most three, so that quantiles have the right magnitude."""
WAIT_SECONDS = (*SECONDS, 900, 2700, 7200)
"""Of waiting jobs: a backlog may last for hours."""
QUEUE_STAGE = "queue"
STAGES = (QUEUE_STAGE, "fetch", "wait", "transform", "store", "finish")
SERVICE_ERROR_CODES = tuple(
    error.code
    for error in (
        AttemptsExhaustedError,
        DecoderCrashedError,
        ObjectsUnavailableError,
        OutOfMemoryError,
        ServiceUnavailableError,
        TransformCrashedError,
        TransformTimeoutError,
        WorkerUnavailableError,
    )
)
"""Codes of errors that indicate a problem of the service even in small numbers. Exported as 0 from the start, because
``increase()`` misses the first count of a counter that first appears as 1."""


_PRIORITIES = {rank: priority for priority, rank in PRIORITY_RANKS.items()}


class AttemptOutcome(StrEnum):
    """Outcome of an attempt."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The attempt and its job failed."""
    RETRIED = "retried"
    """The attempt failed, and another follows."""
    LOST = "lost"
    """The lease was lost, or the outcome could not be recorded."""
    RELEASED = "handed_back"
    """The worker was stopping and released the job; the attempt does not count."""


class WorkerMetrics:
    """Metrics of one worker process. Thread-safe."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.process = ProcessMetrics(registry, role="worker")
        self._register_attempts(registry)
        self._register_usage(registry)
        self._register_capacity(registry)

    def _register_attempts(self, registry: CollectorRegistry) -> None:
        self._jobs = Counter(
            "pixelflow_worker_jobs_total",
            "Attempts at jobs by outcome: succeeded, failed (with the job), retried (failed, another attempt follows), "
            "lost (the job was canceled or claimed by another worker, or the outcome could not be recorded), "
            "handed_back (released because the worker was stopping).",
            ["source_type", "status"],
            registry=registry,
        )
        for source_type in SourceType:
            for outcome in AttemptOutcome:
                self._jobs.labels(source_type, outcome)
        self._job_seconds = Histogram(
            "pixelflow_worker_job_duration_seconds",
            "Duration of attempts in seconds, from claim to outcome.",
            ["source_type"],
            buckets=SECONDS,
            registry=registry,
        )
        self._waits = Histogram(
            "pixelflow_worker_job_wait_seconds",
            "Seconds from when a job was due to its claim, by its priority (high, normal, low), observed at the claim.",
            ["priority"],
            buckets=WAIT_SECONDS,
            registry=registry,
        )
        for priority in Priority:
            self._waits.labels(priority)
        self._stages = Histogram(
            "pixelflow_worker_stage_duration_seconds",
            "Duration of each stage of an attempt in seconds, to the millisecond: queue (from due to claimed), fetch "
            "(the source), wait (for a slot), transform, store (the outputs), finish (recording the outcome).",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self._failures = Counter(
            "pixelflow_worker_failures_total",
            "Failed attempts by error code; the last attempt of a job that has used up its retries counts as "
            "attempts_exhausted, or decoder_crashed if native code crashed.",
            ["code"],
            registry=registry,
        )
        for code in SERVICE_ERROR_CODES:
            self._failures.labels(code)

    def _register_usage(self, registry: CollectorRegistry) -> None:
        self._outputs = Counter(
            "pixelflow_worker_pipeline_outputs_total",
            "Outputs of succeeded jobs by format.",
            ["format"],
            registry=registry,
        )
        self._pixels = Counter(
            "pixelflow_usage_pixels_processed_total",
            "Pixels in the outputs of succeeded jobs: the sum of pixels_processed in usage_logs.",
            registry=registry,
        )
        self._saved = Counter(
            "pixelflow_usage_bytes_saved_total",
            "Bytes by which the outputs of succeeded jobs are smaller than their sources: the sum of bytes_saved in "
            "usage_logs.",
            registry=registry,
        )
        self._compute = Counter(
            "pixelflow_usage_compute_time_ms_total",
            "CPU time of the transforms of succeeded jobs in milliseconds: the sum of compute_time_ms in usage_logs.",
            registry=registry,
        )

    def _register_capacity(self, registry: CollectorRegistry) -> None:
        self._active = Gauge(
            "pixelflow_worker_active_jobs", "Transforms in progress in this worker.", registry=registry
        )
        self._slots = Gauge(
            "pixelflow_worker_slots",
            "Maximum number of concurrent transforms in this worker: PIXELFLOW_WORKER_MAX_ACTIVE_JOBS, or the cores.",
            registry=registry,
        )
        self._children = Counter(
            "pixelflow_worker_children_started_total",
            "Transform children started: for another user, or to replace children that exited, were killed, were idle "
            "for long or reached their limit of 1000 transforms.",
            registry=registry,
        )
        self._confinement = Gauge(
            "pixelflow_worker_confinement",
            "Whether a part of the transform children's confinement is in force: user (not root), landlock (files), "
            "seccomp (system calls), single_threaded (sound forks).",
            ["part"],
            registry=registry,
        )

        self._degraded = Gauge(
            "pixelflow_worker_degraded",
            "Whether this worker claims no jobs because of this reason: 1 or 0. object_storage, database, child_start, "
            "resources: they failed repeatedly; scratch_bytes, scratch_inodes: too few are free.",
            ["reason"],
            registry=registry,
        )
        for reason in Reason:
            self._degraded.labels(reason)

    def set_degraded(self, reason: Reason, degraded: bool) -> None:  # a callback
        """Record that the worker stopped claiming jobs for a reason, or that the reason ended."""
        self._degraded.labels(reason).set(degraded)

    def observe_slots(self, slots: int, active: Callable[[], int]) -> None:
        """Export the number of slots, and ``active()`` at each scrape as the number of transforms in progress."""
        self._slots.set(slots)
        self._active.set_function(active)

    def count_child_start(self) -> None:
        """Count a started transform child."""
        self._children.inc()

    def set_confinement(self, parts: Mapping[str, bool]) -> None:
        """Export which parts of the confinement are in force."""
        for part, available in parts.items():
            self._confinement.labels(part).set(available)

    def record_wait(self, priority: int, seconds: float) -> None:
        """Record that a job was claimed, ``seconds`` after it was due; ``priority`` is its rank."""
        self._waits.labels(_PRIORITIES[priority]).observe(seconds)

    def record_attempt(
        self,
        source_type: str,
        outcome: AttemptOutcome,
        *,
        seconds: float,
        queued_seconds: float,
        stages: Mapping[str, int],
    ) -> None:
        """Record a finished attempt.

        Args:
            source_type: of the job.
            outcome: of the attempt.
            seconds: since the claim.
            queued_seconds: from when the job was due to the claim.
            stages: milliseconds of each stage that the attempt reached.
        """
        self._jobs.labels(source_type, outcome).inc()
        self._job_seconds.labels(source_type).observe(seconds)
        self._stages.labels(QUEUE_STAGE).observe(queued_seconds)
        for stage, milliseconds in stages.items():
            self._stages.labels(stage).observe(milliseconds / 1000)

    def record_failure(self, code: str) -> None:
        """Count a failed attempt by its error code."""
        self._failures.labels(code).inc()

    def record_usage(
        self, *, pixels_processed: int, bytes_saved: int, compute_time_ms: int, formats: Iterable[str]
    ) -> None:
        """Add the usage of a succeeded job and count its outputs by format."""
        self._pixels.inc(pixels_processed)
        self._saved.inc(bytes_saved)
        self._compute.inc(compute_time_ms)
        for output_format in formats:
            self._outputs.labels(output_format).inc()
