"""Operations on batches, shared by both clients. Does no I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from pixelflow.client.api_calls import delete, get, post
from pixelflow.client.arguments import to_destination, to_seconds, to_steps, to_uuid
from pixelflow.client.models import Operation, Paginator, Sleep
from pixelflow.client.operations import Steps, validated
from pixelflow.client.outages import OutageTolerantReads
from pixelflow.client.pagination import pages
from pixelflow.client.session import Session
from pixelflow.client.sources import ExistingSource
from pixelflow.client.waiting import MAX_POLL_INTERVAL, POLL_GROWTH, POLL_INTERVAL
from pixelflow.contracts.batches import (
    MAX_SOURCES,
    AddedJobs,
    AddJobsRequest,
    Batch,
    BatchPage,
    BatchSummary,
    CreateBatchRequest,
    CreatedBatch,
    RefusedSource,
)
from pixelflow.contracts.jobs.destinations import Destination
from pixelflow.contracts.jobs.states import Priority
from pixelflow.contracts.preset_templates import Scalar
from pixelflow.contracts.webhooks import DeliveryList

MAX_REQUEST_BYTES = 100_000
"""Sources of one request as JSON; a body has at most 128 KiB."""

FINISH_SECONDS = 10.0
"""How long a batch whose jobs have ended is polled until it has finished. A controller needs about a second."""

BatchEntry = ExistingSource | tuple[ExistingSource, Mapping[str, str]]
"""A source, or a source and the metadata of its job."""


def create_batch(
    session: Session,
    pipeline: Steps | None = None,
    *,
    preset: str | None = None,
    parameters: Mapping[str, Scalar] | None = None,
    sources: Sequence[BatchEntry] = (),
    name: str | None = None,
    metadata: Mapping[str, str] | None = None,
    webhook_url: str | None = None,
    priority: Priority = Priority.NORMAL,
    destination: Destination | Mapping[str, Any] | None = None,
    close: bool = False,
    idempotency_key: str | None = None,
) -> Operation[CreatedBatch]:
    """Create a batch and a job for each source, and start the jobs. Sends as many requests as the sources need.

    Args:
        session: of the client.
        pipeline: steps, as models or JSON objects.
        preset: name of a preset, such as ``avatar`` or ``avatar@3``, instead of a pipeline.
        parameters: of the preset.
        sources: that are there already. ``add_to_batch`` and ``rerun_in_batch`` add more.
        name: for people.
        metadata: of each job.
        webhook_url: receives a webhook when a job succeeds, fails or is canceled, and when the batch has finished.
        priority: of the jobs among your own queued jobs.
        destination: where the outputs are stored, besides the service's own bucket.
        close: close the batch after the last source. Without it, add more, then call ``close_batch``.
        idempotency_key: of your own. The same call with the same key returns the same batch for 24 hours, and completes
            it, also from another process. Default: a new one.

    Raises:
        InvalidRequestError: the request is not valid; nothing was sent.
        ApiError: the API rejected the request.
        ConnectionFailedError: no response. The batch and some of its jobs may exist.
    """
    optional: dict[str, Any] = {"preset": preset, "name": name, "webhook_url": webhook_url}
    optional |= {"destination": to_destination(destination)}
    raw = {field: value for field, value in optional.items() if value is not None}
    raw |= {"metadata": dict(metadata or {}), "parameters": dict(parameters or {}), "priority": priority}
    if pipeline is not None:
        raw["pipeline"] = to_steps(pipeline)
    first, *others = list(_requests(sources)) or [[]]
    raw |= {"sources": first, "close": close and not others}
    body = validated(CreateBatchRequest, {field: value for field, value in raw.items() if value})
    created = yield from post(session, "/v1/batches", CreatedBatch, _json(body), idempotency_key=idempotency_key)
    if not others:
        return created
    added = yield from _add(session, created.batch_id, others, sent=len(first), close=close)
    batch = yield from get_batch(session, created.batch_id)
    return CreatedBatch(**dict(batch), refused=created.refused + added.refused)


def add_to_batch(
    session: Session, batch_id: UUID | str, sources: Sequence[BatchEntry], *, close: bool = False
) -> Operation[AddedJobs]:
    """Add a job for each source. A source that the batch has already, with the same metadata, has no effect.

    With ``close``, the batch is closed after the last source.

    Raises:
        InvalidRequestError: a source is not valid.
        ApiError: the API rejected the request; ``batch_closed`` or ``batch_canceled`` if the batch takes no more jobs.
        ConnectionFailedError: no response. The same call completes what is missing.
    """
    added = yield from _add(session, batch_id, list(_requests(sources)), sent=0, close=close)
    if close and not sources:
        yield from close_batch(session, batch_id)
    return added


def rerun_in_batch(
    session: Session,
    batch_id: UUID | str,
    preset: str,
    *,
    close: bool = False,
    on_page: Callable[[AddedJobs], None] | None = None,
) -> Operation[AddedJobs]:
    """Add a job for each of your jobs of a preset that succeeded before the batch was created, with the same source.

    Each job has the metadata and the parameters of the earlier one; those of the batch take precedence.

    Args:
        session: of the client.
        batch_id: of a batch with another version of the preset, or with anything else.
        preset: whose jobs are run again, such as ``avatar@2``.
        close: close the batch after the last job.
        on_page: called with the result of each request, of up to 100 earlier jobs.

    Raises:
        ApiError: the API rejected the request; ``batch_closed`` or ``batch_canceled`` if the batch takes no more jobs.
        ConnectionFailedError: no response. The same call completes what is missing.
    """
    accepted, refused, cursor = 0, list[RefusedSource](), None
    while True:
        rerun = {"preset": preset} | ({"cursor": cursor} if cursor else {})
        body = validated(AddJobsRequest, {"rerun": rerun} | ({"close": True} if close else {}))
        added = yield from post(session, f"{_path(batch_id)}/jobs", AddedJobs, _json(body))
        accepted, cursor = accepted + added.accepted, added.next_cursor
        refused += added.refused
        if on_page:
            on_page(added)
        if cursor is None:
            return added.model_copy(update={"accepted": accepted, "refused": refused})


def get_batch(session: Session, batch_id: UUID | str) -> Operation[Batch]:
    """Return a batch with the number of its jobs by status.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for a batch of another user.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, _path(batch_id), Batch))


def list_batches(session: Session, *, limit: int | None = None, cursor: str | None = None) -> Operation[BatchPage]:
    """Return one page of batches, newest first. ``next_cursor`` is the ``cursor`` of the next page.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, "/v1/batches", BatchPage, query={"limit": limit, "cursor": cursor}))


def iter_batches(session: Session, *, page_size: int | None = None) -> Paginator[BatchSummary]:
    """Iterate over all batches, newest first. Pages are fetched on demand.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    return pages(lambda cursor: list_batches(session, limit=page_size, cursor=cursor))


def close_batch(session: Session, batch_id: UUID | str) -> Operation[Batch]:
    """Let a batch take no more jobs, and return it. Its event ``batch.finished`` follows its last job. Idempotent.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    return (yield from post(session, f"{_path(batch_id)}/close", Batch))


def list_batch_deliveries(session: Session, batch_id: UUID | str) -> Operation[DeliveryList]:
    """Return the latest delivery attempts of a batch's webhooks, newest first; those of its jobs are not among them.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for a batch of another user.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, f"{_path(batch_id)}/deliveries", DeliveryList))


def cancel_batch(session: Session, batch_id: UUID | str) -> Operation[Batch]:
    """Cancel all unfinished jobs of a batch, which takes no more jobs, and return it. Idempotent.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response. The same call completes what is missing.
    """
    while True:
        batch = yield from post(session, f"{_path(batch_id)}/cancel", Batch)
        if not unfinished_jobs(batch):
            return batch


def delete_batch(session: Session, batch_id: UUID | str) -> Operation[None]:
    """Delete a batch: its name, and what its jobs have in common. The jobs stay.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also if the batch was already deleted.
        ConnectionFailedError: no response.
    """
    yield from delete(session, _path(batch_id))


def wait_for_batch(
    session: Session,
    batch_id: UUID | str,
    *,
    timeout: float | None = None,
    on_change: Callable[[Batch], None] | None = None,
) -> Operation[Batch]:
    """Poll a batch at growing intervals until all its jobs are finished, or ``timeout`` seconds have passed.

    A closed batch is returned with ``finished_at``, unless that takes longer than ten seconds more, as when no
    controller runs. It goes on while the API is away for up to a minute, as when it restarts.
    Returns the batch in both cases: ``percent`` is 100 if all jobs are finished, whether they succeeded or not.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    reads = OutageTolerantReads(session, to_seconds(timeout, "timeout"))
    interval, last, jobs_ended_at = POLL_INTERVAL, None, math.inf
    while True:
        batch = yield from reads.get(_path(batch_id), Batch)
        if on_change and last != (last := batch.jobs):
            on_change(batch)
        jobs_ended_at = math.inf if unfinished_jobs(batch) else min(jobs_ended_at, session.clock())
        is_awaited = batch.closed_at and not batch.finished_at and session.clock() - jobs_ended_at < FINISH_SECONDS
        if reads.left() <= 0 or not (unfinished_jobs(batch) or is_awaited):
            return batch
        yield Sleep(max(0.0, min(interval, reads.left())))
        interval = min(interval * POLL_GROWTH, MAX_POLL_INTERVAL)


def unfinished_jobs(batch: Batch) -> int:
    """Return the number of jobs that have not finished."""
    return batch.jobs.created + batch.jobs.queued + batch.jobs.processing


def _add(
    session: Session, batch_id: UUID | str, requests: Sequence[list[dict[str, Any]]], *, sent: int, close: bool
) -> Operation[AddedJobs]:
    """Add the sources of these requests; ``sent`` sources were sent before. With ``close``, the last one closes."""
    accepted, refused = 0, list[RefusedSource]()
    for number, entries in enumerate(requests, 1):
        is_last = close and number == len(requests)
        body = validated(AddJobsRequest, {"sources": entries} | ({"close": True} if is_last else {}))
        added = yield from post(session, f"{_path(batch_id)}/jobs", AddedJobs, _json(body))
        accepted += added.accepted
        refused += [row.model_copy(update={"index": (row.index or 0) + sent}) for row in added.refused]
        sent += len(entries)
    return AddedJobs(batch_id=to_uuid(batch_id, "batch_id"), accepted=accepted, refused=refused)


def _path(batch_id: UUID | str) -> str:
    return f"/v1/batches/{to_uuid(batch_id, 'batch_id')}"


def _json(body: CreateBatchRequest | AddJobsRequest) -> bytes:
    return body.model_dump_json(by_alias=True, exclude_unset=True).encode()


def _requests(sources: Sequence[BatchEntry]) -> Iterator[list[dict[str, Any]]]:
    """Split the sources into those of each request."""
    entries: list[dict[str, Any]] = []
    size = 0
    for source in sources:
        named, metadata = source if isinstance(source, tuple) else (source, None)
        entry: dict[str, Any] = {"source": named.declared()} | ({"metadata": dict(metadata)} if metadata else {})
        more = len(json.dumps(entry))
        if entries and (len(entries) == MAX_SOURCES or size + more > MAX_REQUEST_BYTES):
            yield entries
            entries, size = [], 0
        entries.append(entry)
        size += more
    if entries:
        yield entries
