"""One attempt at a job, from the claim to its end: fetch → wait → transform → store → finish.

Every way out of an attempt is in :meth:`Attempts.run`. Nothing here is lost by a death: what was not finished is found
by its lease.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import UUID

import structlog
from pydantic import TypeAdapter

from pixelflow.adapters.store import attempts
from pixelflow.adapters.store.attempts import ClaimedJob, OutputRow, SourceFacts, UsageRow
from pixelflow.adapters.store.database import Database
from pixelflow.contracts.pipeline import MEDIA_TYPES, Pipeline, Step, output_name
from pixelflow.contracts.problems import (
    AttemptsExhaustedError,
    JobError,
    PixelflowError,
    StepFailedError,
    StoreUnavailableError,
    TransformCrashedError,
)
from pixelflow.dataplane.leases import GoodbyeError, HeldLease, LeaseLostError
from pixelflow.dataplane.protocol import Done, Limits, RenderedOutput, TransformRequest
from pixelflow.dataplane.sandbox import Sandbox

MAX_RETRY_SECONDS = 300.0
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
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._sandbox = sandbox
        self._storages = storages
        self._bounds = bounds
        self._scratch = scratch
        self._jitter = jitter

    def run(self, job: ClaimedJob, held: HeldLease) -> None:
        """Make one attempt, and write how it ended."""
        stages = Stages()
        log = _log.bind(job_id=str(job.job_id), attempt=job.lease_token)
        try:
            self._work(job, held, stages)
            log.info("succeeded", **stages.milliseconds)
        except LeaseLostError:
            log.warning("given up: the job is no longer this worker's")
        except GoodbyeError:
            self._hand_back(job, None, stages, counted=False)
            log.info("handed back: the worker is leaving")
        except PixelflowError as error:
            log.warning("attempt failed", code=error.code, detail=error.detail, retryable=error.retryable)
            self._end_badly(job, error, stages)
        except Exception as error:  # a bug, or a disk that is full: neither may cost the worker its thread
            log.exception("attempt failed unexpectedly")
            crash = TransformCrashedError("Something went wrong on our side while the job was worked on")
            crash.__cause__ = error
            self._end_badly(job, crash, stages)

    def _work(self, job: ClaimedJob, held: HeldLease, stages: Stages) -> None:
        """The stages, in order."""
        storage = self._storages[job.source_type]
        with self._private_directory() as directory, _made(directory / "outputs") as folder:
            source = directory / "source"
            with stages.measured("fetch"):
                source_bytes, sha256 = storage.fetch(job.source_key, source, max_bytes=self._bounds.max_source_bytes)
            done = self._transform(job, held, source, stages)
            held.check()
            with stages.measured("store"):
                outputs = _store(job, done, storage, folder)
            held.check()
        found = done.rendered.source
        facts = SourceFacts(source_bytes, sha256, found.format, found.width, found.height)
        with stages.measured("finish"):
            self._finish(job, facts, outputs, done, stages)

    @contextmanager
    def _private_directory(self) -> Iterator[Path]:
        directory = Path(tempfile.mkdtemp(prefix="attempt-", dir=self._scratch))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _transform(self, job: ClaimedJob, held: HeldLease, source: Path, stages: Stages) -> Done:
        request = TransformRequest(
            source=source,
            directory=source.with_name("outputs"),
            pipeline=_PIPELINE.validate_python(job.pipeline),
            limits=self._bounds.transform,
        )
        with ExitStack() as stack:
            with stages.measured("wait"):
                transform = stack.enter_context(self._sandbox.slot())
            held.check()
            with stages.measured("transform"):
                try:
                    return transform(request, on_child=held.on_child)
                except JobError:
                    held.check()  # the child died because it was killed on purpose
                    raise

    def _finish(
        self, job: ClaimedJob, source: SourceFacts, outputs: list[OutputRow], done: Done, stages: Stages
    ) -> None:
        usage = UsageRow(
            pixels_processed=sum(output.width * output.height for output in outputs),
            bytes_saved=max(0, source.bytes - sum(output.bytes for output in outputs)),
            compute_time_ms=done.compute_time_ms,
        )
        with self._database.connection() as connection:
            written = attempts.succeed(
                connection, job.lease, source=source, outputs=outputs, usage=usage, stages=stages.milliseconds
            )
        if not written:
            raise LeaseLostError

    def _end_badly(self, job: ClaimedJob, error: PixelflowError, stages: Stages) -> None:
        if error.retryable and job.attempts < job.max_attempts:
            self._hand_back(job, error, stages, counted=True)
            return
        if error.retryable:
            error = AttemptsExhaustedError(f"Tried {job.attempts} times; the last time: {error.detail}")
        with _outcome_unwritten_is_logged(job), self._database.connection() as connection:
            attempts.fail(connection, job.lease, error=_told(error), stages=stages.milliseconds)

    def _hand_back(self, job: ClaimedJob, error: PixelflowError | None, stages: Stages, *, counted: bool) -> None:
        delay = timedelta(seconds=retry_seconds(job.attempts, self._jitter()) if counted else 0)
        with _outcome_unwritten_is_logged(job), self._database.connection() as connection:
            attempts.hand_back(
                connection,
                job.lease,
                delay=delay,
                counted=counted,
                error=_told(error) if error else None,
                stages=stages.milliseconds,
            )


def retry_seconds(attempts_made: int, jitter: float) -> float:
    """How long to wait after so many attempts: 1, 2, 4 … s, at most five minutes, the later half of it at random.

    «Equal jitter»: spreads what failed together, and still waits at least half (M. Brooker, Exponential Backoff and
    Jitter, 2015).

    Args:
        attempts_made: at least 1.
        jitter: from 0 to 1.
    """
    full = min(MAX_RETRY_SECONDS, 2.0 ** (attempts_made - 1))
    return full / 2 + jitter * full / 2


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


@contextmanager
def _made(path: Path) -> Iterator[int]:
    """A new folder, held open: a child may put another in its place, or a link, but not under this descriptor."""
    path.mkdir()
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _store(job: ClaimedJob, done: Done, storage: Storage, folder: int) -> list[OutputRow]:
    prefix = storage.output_prefix(job.source_key, job.job_id, job.lease_token)
    actions = {step["id"]: step["action"] for step in job.pipeline}
    rows = []
    for position, rendered in enumerate(done.rendered.outputs):
        name = output_name(rendered.step_id, rendered.format)
        key = f"{prefix}/{name}"
        with _opened(name, folder, rendered) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            file.seek(0)
            storage.store(file, key, media_type=MEDIA_TYPES[rendered.format])
        rows.append(
            OutputRow(
                step_id=rendered.step_id,
                position=position,
                action=actions[rendered.step_id],
                format=rendered.format,
                object_key=key,
                bytes=size,
                width=rendered.width,
                height=rendered.height,
                sha256=digest,
            )
        )
    return rows


@contextmanager
def _opened(name: str, folder: int, rendered: RenderedOutput) -> Iterator[BufferedReader]:
    """The file that a child says it made. It may have put a link or a pipe there: only a regular file is read."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise StepFailedError("The step left no picture", step_id=rendered.step_id) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StepFailedError("The step left no picture", step_id=rendered.step_id)
    with open(descriptor, "rb") as file:  # noqa: PTH123  # from a descriptor
        yield file
