"""The scenario that is recorded: calls each function of the stores at least once, as the service does.

Every statement finds rows, so that each of its parts runs. It finds one row at a time, so that results have an order.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.migration.recorder import Recorder
from tests.migration.recording import now

from pixelflow.adapters.postgres.connection import TenantScope
from pixelflow.adapters.postgres.database import EVERYONE, NOBODY, of_key, of_user
from pixelflow.contracts.capabilities import worker_capabilities
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.idempotency.store import AnsweredKey
from pixelflow.controlplane.jobs.filters import JobFilters
from pixelflow.controlplane.jobs.store import SourcePlace, UploadLimits, Waiting
from pixelflow.controlplane.live.store import Reading, ReadPosition
from pixelflow.controlplane.webhook_endpoints.store import EndpointChange, EndpointRow
from pixelflow.controlplane.webhooks.due_events import DeliveryLimits, LeasedEvent, Rotation
from pixelflow.controlplane.webhooks.store import DeliveryAttempt
from pixelflow.dataplane.worker.store import Lease, OutputRow, Renewal, SourceFacts, UsageRow

USER = "acme"
MINE: TenantScope = of_user(USER)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
OVER = -MINUTE
"""A lease that has expired when it is granted."""
ERROR = {"code": "undecodable", "message": "damaged", "step_id": None}
STAGES = {"fetch": 1}
SOURCE = SourceFacts(bytes=1000, sha256="s", format="jpeg", width=120, height=80)
LIMITS = UploadLimits(100, 10**9, undeclared_bytes=1000)
USAGE = UsageRow(pixels_processed=2400, bytes_saved=600, compute_time_ms=7)


async def run(record: Recorder) -> None:
    """Call all functions, from the first API key to the last file."""
    await _workers(record)
    await _keys(record)
    await _idempotency(record)
    await _created_with_key(record)
    await _job_that_expires(record)
    await _awaited_sources(record)
    done = await _job_that_succeeds(record)
    await _assets(record)
    await _presets(record)
    await _batches(record)
    await _jobs_that_fail(record)
    await _webhooks(record)
    await _usage(record)
    await _stats(record)
    await _erasure(record, done)
    await record.call("retention.delete_attempts", EVERYONE, age=timedelta(0), limit=9)
    await record.call("queue.delete_idle_lanes", EVERYONE, limit=9)


async def _workers(record: Recorder) -> None:
    worker = {"worker_id": "worker", "capabilities": worker_capabilities(), "slots": 2}
    await record.call("worker.register", EVERYONE, **worker, degraded=None)
    await record.call("worker.register", EVERYONE, **worker, degraded="disk full")
    await record.call("capabilities.list_workers", MINE)
    await record.call("capabilities.find_unsupported", MINE, contracts=["contract/1"], optional=["heic", "pdf"])
    await record.call("worker.unregister", EVERYONE, worker_id="worker")


async def _keys(record: Recorder) -> None:
    new = {"user_id": USER, "name": "shop", "secret_hash": b"hash", "scopes": ["jobs:read"], "max_keys": 9}
    new |= {"rate_limit": 60, "rate_limit_key": "k1"}
    await record.call("keys.is_past", MINE, now() + DAY)
    await record.call("keys.insert", MINE, key_id="k1", expires_at=now() + DAY, **new)
    await record.call("keys.insert", MINE, key_id="k1", expires_at=None, **new)
    await record.call("keys.find_valid", NOBODY, "k1", stale=MINUTE)
    await record.call("keys.touch", of_key("k1"), "k1", stale=MINUTE)
    await record.call("keys.find_user", EVERYONE, "k1")
    await record.call("keys.find_active_among", EVERYONE, ["k1"])
    await record.call("keys.find_scopes", MINE, key_id="k1", user_id=USER)
    await record.call("keys.revoke", MINE, key_id="k1", user_id=USER)
    await record.call("keys.list_all", MINE, user_id=USER, limit=9)


async def _idempotency(record: Recorder) -> None:
    mine = {"user_id": USER, "key": "order-1"}
    request = {**mine, "fingerprint": b"f", "lease": MINUTE, "keep": DAY}
    job_id, holder = uuid4(), uuid4()
    await record.call("idempotency.claim", MINE, **request, job_id=job_id, resource_id=job_id, holder=holder)
    await record.call("idempotency.claim", MINE, **request, job_id=job_id, resource_id=uuid4(), holder=uuid4())
    await record.call("idempotency.release", MINE, **mine, holder=holder)
    await record.call("idempotency.claim", MINE, **request, job_id=job_id, resource_id=uuid4(), holder=holder)
    await record.call("idempotency.finish", MINE, **mine, holder=holder, status=202, ciphertext=b"sealed")
    await record.call("idempotency.find", MINE, **mine)
    [response] = await record.call("secrets.list_responses", EVERYONE, header=b"new", after=None, limit=9)
    await record.call("secrets.replace_responses", EVERYONE, [(response, b"new 1")])
    await record.call("idempotency.forget_job", MINE, user_id=USER, job_id=job_id)
    await record.call("idempotency.find", MINE, **mine)
    await record.call("idempotency.delete_expired", EVERYONE, keep=-MINUTE, limit=9)


def _request(**fields: Any) -> CreateJobRequest:  # noqa: ANN401 - of any field
    step = {"id": "small", "action": "resize", "width": 60, "format": "webp"}
    return CreateJobRequest.model_validate({"pipeline": [step], "metadata": {"sku": "A-17"}, **fields})


async def _created(record: Recorder, *, waiting: Waiting | None = None, **fields: Any) -> UUID:  # noqa: ANN401 - as above
    job_id = uuid4()
    await record.call(
        "jobs.insert",
        MINE,
        job_id=job_id,
        user_id=USER,
        request=_request(**fields),
        place=SourcePlace(f"uploads/{job_id}/source"),
        max_attempts=2,
        limits=LIMITS,
        waiting=waiting,
    )
    return job_id


async def _created_with_key(record: Recorder) -> None:
    key = AnsweredKey("order-2", b"f", 200, b"secret")
    new = {
        "job_id": uuid4(),
        "user_id": USER,
        "place": SourcePlace("uploads/source"),
        "max_attempts": 2,
        "key": key,
        "limits": LIMITS,
    }
    for _ in range(2):
        await record.call("jobs.insert", MINE, request=_request(), **new)


async def _queue(record: Recorder, job_id: UUID, *, new_run: bool = False) -> None:
    before = [JobStatus.FAILED, JobStatus.CANCELED] if new_run else [JobStatus.CREATED]
    await record.call("jobs.transitions.find", MINE, job_id=job_id, user_id=USER)
    await record.call(
        "jobs.transitions.queue",
        MINE,
        job_id=job_id,
        user_id=USER,
        moved_from=before,
        new_run=new_run,
        source_key=f"uploads/{job_id}/source",
        source_bytes=1000,
        source_version="v",
        traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
        max_active=5,
    )


async def _claimed(record: Recorder, job_id: UUID, lease: timedelta = MINUTE) -> Lease:
    able = worker_capabilities()
    [claimed] = await record.call(
        "worker.claim", EVERYONE, places=1, capabilities=able, worker_id="worker", lease=lease
    )
    assert claimed.job_id == job_id
    lease_: Lease = claimed.lease
    return lease_


async def _succeed(record: Recorder, lease: Lease) -> None:
    output = OutputRow("small", 0, "resize", "webp", f"outputs/{lease.job_id}/small.webp", 400, 60, 40, "o")
    end = {"source": SOURCE, "outputs": [output], "usage": USAGE, "stages": STAGES}
    await record.call("worker.succeed", EVERYONE, lease, **end)


async def _job_that_expires(record: Recorder) -> None:
    """A retention period of zero; and a job that is never started."""
    old = {"age": timedelta(0), "limit": 9}
    job_id = await _created(record, webhook_url="https://client.example/hook")
    await _queue(record, job_id)
    await _succeed(record, await _claimed(record, job_id))
    await record.call("jobs.origins.find", MINE, job_id=job_id, user_id=USER)
    await record.call("retention.expire_sources", EVERYONE, **old)
    unused = await _created(record, source={"content_length": 1000, "multipart": True})
    begun = {"job_id": unused, "user_id": USER, "upload_id": "upload"}
    assert await record.call("jobs.transitions.set_multipart_upload", MINE, **begun, replaced=None)
    await record.call("jobs.transitions.cancel", MINE, job_id=unused, user_id=USER)
    await record.call("retention.expire_unused_uploads", EVERYONE, **old, upload_grace=MINUTE)
    await record.call("retention.expire_outputs", EVERYONE, **old)
    for kind in ("source", "output"):
        deletions = await record.call("retention.lease_deletions", EVERYONE, kind=kind, lease=DAY, limit=1)
        await record.call("retention.complete_deletions", EVERYONE, deletions)
    await record.call("jobs.find", MINE, job_id=job_id, user_id=USER, with_history=False)
    event = await _leased_event(record, now() + timedelta(hours=1))
    await record.call("webhooks.delete_event", EVERYONE, event.event_id)
    await record.call("retention.delete_jobs", EVERYONE, **old)
    await _created(record)
    await record.call("retention.lock_never_started", EVERYONE, **old)


async def _awaited_sources(record: Recorder) -> None:
    """Jobs that start by themselves: one that starts, and one that can't run with its source."""
    waiting = Waiting(timedelta(0), DAY, traceparent=None)
    started, refused = [await _created(record, waiting=waiting) for _ in range(2)]
    await record.call("jobs.awaited.renew", MINE, job_id=started, user_id=USER, waiting=waiting)
    users, _ = await record.call("jobs.awaited.longest_due", EVERYONE)
    assert await record.call("jobs.awaited.visit", EVERYONE, after="") == users
    for _ in range(2):
        leased = await record.call("jobs.awaited.lease", EVERYONE, users, seconds=MINUTE, limit=1)
        await record.call("jobs.awaited.postpone", EVERYONE, [each.job_id for each in leased])
    await record.call("jobs.awaited.release", EVERYONE, [started])
    await _queue(record, started)
    failure = {"code": "source_too_large", "message": "m", "upload_grace": DAY}
    await record.call("jobs.transitions.fail_unstarted", MINE, job_id=refused, user_id=USER, **failure)
    await record.call("jobs.awaited.remove", EVERYONE, [started, refused])
    await record.call("jobs.transitions.cancel", MINE, job_id=started, user_id=USER)


async def _job_that_succeeds(record: Recorder) -> UUID:
    declared = {"content_length": 1000, "content_type": "image/jpeg"}
    job_id = await _created(record, source=declared, webhook_url="https://client.example/hook")
    await _queue(record, job_id)
    await record.call("live.newest_transaction", MINE)
    _, seen = await record.call("live.find_active", MINE, user_id=USER)
    await record.call("queue.set_share", EVERYONE, user_id=USER, weight=2.0, max_active=3)
    await record.call("queue.list_shares", EVERYONE)
    await record.call("stats.count_unclaimable", EVERYONE)
    lease = await _claimed(record, job_id)
    await record.call("worker.pin_source", EVERYONE, lease, "etag")
    await record.call("worker.renew", EVERYONE, [Renewal(lease, "fetch", 40)], lease=MINUTE)
    await _watch(record, job_id, seen)
    released = {"delay": timedelta(0), "counted": True, "error": ERROR, "stages": STAGES, "compute_time_ms": 3}
    await record.call("worker.release", EVERYONE, lease, **{**released, "delay": timedelta(microseconds=1)})
    await record.call("worker.promote_due", EVERYONE, limit=9)
    lease = await _claimed(record, job_id)
    await record.call("worker.release", EVERYONE, lease, **{**released, "counted": False})
    lease = await _claimed(record, job_id)
    await _succeed(record, lease)
    await _succeed(record, lease)  # again: the lease is no longer valid
    await record.call("jobs.find", MINE, job_id=job_id, user_id=USER, with_history=True)
    return job_id


async def _watch(record: Recorder, job_id: UUID, seen: str) -> None:
    await record.call("live.find", MINE, job_id=job_id, user_id=USER)
    await record.call("live.read_changes", EVERYONE, [Reading(USER, None, ReadPosition(seen))])
    await record.call("live.read_changes", EVERYONE, [Reading(USER, job_id, ReadPosition(""))])
    await record.call("live.find_progress", EVERYONE, [job_id])


async def _presets(record: Recorder) -> None:
    mine: dict[str, Any] = {"user_id": USER, "name": "avatar"}
    await record.call("presets.lock", MINE, user_id=USER)
    await record.call("presets.count", MINE, **mine)
    step = {"id": "small", "action": "resize", "width": 9}
    await record.call("presets.insert_version", MINE, **mine, description=None, parameters={}, pipeline=[step])
    await record.call("presets.find", MINE, **mine)
    await record.call("presets.find_version", MINE, **mine, version=1)
    await record.call("presets.list_versions", MINE, **mine)
    await record.call("presets.list_latest", MINE, user_id=USER)
    await record.call("presets.delete", MINE, **mine)


async def _assets(record: Recorder) -> None:
    mine: dict[str, Any] = {"asset_id": uuid4(), "user_id": USER}
    new = {"size": 9, "content_type": "image/png", "max_assets": 9, "max_total_bytes": 99}
    await record.call("assets.insert", MINE, **mine, name="logo", **new)
    await record.call("assets.complete", MINE, **mine, etag="etag")
    await record.call("assets.find", MINE, **mine)
    await record.call("assets.find_by_name", MINE, name="logo", user_id=USER)
    await record.call("assets.list_all", MINE, user_id=USER)
    await record.call("assets.resolve", MINE, user_id=USER, names=["logo"], asset_ids=[])
    job_id = await _created(record)
    await record.call("assets.attach", MINE, job_id=job_id, assets={"logo": mine["asset_id"]})
    await record.call("worker.find_assets", EVERYONE, job_id)
    await record.call("assets.delete", MINE, **mine)
    await record.call("assets.insert", MINE, asset_id=uuid4(), user_id=USER, name="pending", **new)
    await record.call("assets.delete_never_completed", EVERYONE, age=-MINUTE, limit=9)
    await record.call("jobs.transitions.erase", MINE, job_id=job_id, user_id=USER)
    collected = {"lease": MINUTE, "limit": 1}
    for _ in range(2):
        [asset_id] = await record.call("assets.lease_deletions", EVERYONE, **collected)
        done = [asset_id], {"lease": MINUTE, "upload_grace": timedelta(0)}
        await record.call("assets.complete_deletions", EVERYONE, done[0], **done[1])


async def _batches(record: Recorder) -> None:
    batch: dict[str, Any] = {"batch_id": uuid4(), "user_id": USER}
    await record.call("batches.insert", MINE, **batch, name="cards", job={"preset": "avatar@1"})
    new: dict[str, Any] = {"job_id": uuid4(), "user_id": USER, "batch_id": batch["batch_id"]}
    source = {"place": SourcePlace("uploads/batch/source"), "max_attempts": 2, "limits": LIMITS}
    await record.call("jobs.insert", MINE, request=_request(), **new, **source)
    found = await record.call("batches.find", MINE, **batch)
    page = {"user_id": USER, "limit": 1}
    await record.call("batches.list_newest", MINE, **page, before=None)
    before = found.created_at + MINUTE, found.batch_id
    await record.call("batches.list_newest", MINE, **page, before=before)
    await record.call("batches.count_jobs", MINE, **batch)
    await record.call("batches.list_new", MINE, **batch, job_ids=[batch["batch_id"]])
    await record.call("batches.list_unfinished", MINE, **batch, limit=9)
    await record.call("batches.close", MINE, **batch)
    await record.call("batches.finish_due", EVERYONE, limit=9)
    await record.call("jobs.insert", MINE, request=_request(), **{**new, "job_id": uuid4()}, **source)
    await record.call("batches.set_canceled", MINE, **batch)
    await record.call("batches.finish_due", EVERYONE, limit=9)
    await record.call("jobs.transitions.cancel", MINE, job_id=new["job_id"], user_id=USER)
    await record.call("batches.check_ended", EVERYONE, batch_ids=[batch["batch_id"]])
    for _ in range(2):
        empty: dict[str, Any] = {"batch_id": uuid4(), "user_id": USER}
        await record.call("batches.insert", MINE, **empty, name=None, job={})
    await record.call("batches.delete", MINE, **empty)
    await record.call("batches.delete_old", EVERYONE, age=-DAY, limit=9)


async def _jobs_that_fail(record: Recorder) -> None:
    job_id = await _created(record, source_type="local_file", object_key="/srv/a.jpg")
    await _queue(record, job_id)
    await record.call(
        "worker.fail", EVERYONE, await _claimed(record, job_id), error=ERROR, stages=STAGES, compute_time_ms=7
    )
    await _queue(record, job_id, new_run=True)
    await record.call("jobs.transitions.cancel", MINE, job_id=job_id, user_id=USER)
    await _queue(record, job_id, new_run=True)
    for _ in range(2):
        await _claimed(record, job_id, OVER)
        await record.call("jobs.transitions.find_expired", EVERYONE, limit=9)
        await record.call("jobs.transitions.reap_expired", EVERYONE, limit=9, exhausted="tried too often")
    # Waiting jobs have an age, which differs in each replay.
    await record.call("jobs.transitions.cancel", MINE, job_id=job_id, user_id=USER)
    await _pages(record)


async def _pages(record: Recorder) -> None:
    page = {"user_id": USER, "limit": 1}
    [newest] = (await record.call("jobs.lists.list_newest", MINE, **page, filters=JobFilters(), before=None)).rows
    before = newest.created_at, newest.job_id
    await record.call("jobs.lists.list_newest", MINE, **page, filters=JobFilters(), before=before)
    succeeded = JobFilters(JobStatus.SUCCEEDED)
    await record.call("jobs.lists.list_newest", MINE, **page, filters=succeeded, before=before)
    found = JobFilters(metadata={"sku": "A-17"})
    await record.call("jobs.lists.list_newest", MINE, **page, filters=found, before=None)


async def _webhooks(record: Recorder) -> None:
    new = {"user_id": USER, "ciphertext": b"secret"}
    await record.call("webhooks.insert_first_secret", MINE, secret_id=uuid4(), **new)
    await record.call("webhooks.replace_secret", MINE, secret_id=uuid4(), **new, overlap=DAY, keep=2)
    await record.call("webhooks.list_valid_secrets", EVERYONE, USER)
    of_other_keys = {"header": b"new", "after": None, "limit": 1}
    [secret] = await record.call("secrets.list_secrets", EVERYONE, **of_other_keys)
    await record.call("secrets.replace_secrets", EVERYONE, [(secret, b"new 1")])
    later = now() + timedelta(hours=1)  # all events are due by then
    event = await _leased_event(record, later)
    attempt = _attempt(later, "retried", next_attempt_at=later)
    await record.call("webhooks.record_attempt", EVERYONE, event, attempt)
    await record.call("webhooks.replay_event", MINE, delivery_id=attempt.delivery_id, user_id=USER)
    event = await _leased_event(record, later)
    await record.call("webhooks.record_attempt", EVERYONE, event, _attempt(later, "delivered", next_attempt_at=None))
    await record.call("webhooks.list_deliveries", MINE, job_id=event.job_id, user_id=USER, limit=9)
    await record.call("webhooks.insert_first_secret", EVERYONE, secret_id=uuid4(), user_id="new", ciphertext=b"secret")
    await record.call("webhooks.mark_shown", EVERYONE, "new")
    await _endpoints(record, later)
    await _end_of_a_batch(record, later)
    await record.call("retention.delete_events", EVERYONE, age=-DAY, limit=9)


async def _endpoints(record: Recorder, later: datetime) -> None:
    endpoint_id, mine = uuid4(), {"user_id": USER}
    new = EndpointRow(endpoint_id, "https://client.example/all", None, "all", enabled=True, created_at=later)
    one = {**mine, "endpoint_id": endpoint_id}
    await record.call("webhook_endpoints.lock", MINE, **mine)
    await record.call("webhook_endpoints.count_others", MINE, **one)
    await record.call("webhook_endpoints.insert", MINE, **mine, endpoint=new)
    await record.call("webhook_endpoints.find", MINE, **one)
    await record.call("webhook_endpoints.list_all", MINE, **mine)
    await record.call("webhook_endpoints.has_url", MINE, **mine, url=new.url, except_for=uuid4())
    change = EndpointChange(None, "some", enabled=True, changes_event_types=True, event_types=["job.failed"])
    await record.call("webhook_endpoints.update", MINE, **one, change=change)
    await record.call("webhook_endpoints.insert_test_event", MINE, **one, event_id="msg_1", event_type="webhook.test")
    event = await _leased_event(record, later)
    await record.call("webhooks.record_attempt", EVERYONE, event, _attempt(later, "delivered", next_attempt_at=None))
    await record.call("webhooks.list_endpoint_deliveries", MINE, **one, limit=9)
    await record.call("webhook_endpoints.insert_test_event", MINE, **one, event_id="msg_2", event_type="webhook.test")
    event = await _leased_event(record, later)
    await record.call("webhooks.refuse", EVERYONE, event)
    await record.call("webhook_endpoints.delete", MINE, **one)


async def _end_of_a_batch(record: Recorder, later: datetime) -> None:
    batch: dict[str, Any] = {"batch_id": uuid4(), "user_id": USER}
    await record.call("batches.insert", MINE, **batch, name=None, job={"webhook_url": "https://client.example/hook"})
    await record.call("batches.close", MINE, **batch)
    finished = await record.call("batches.finish_due", EVERYONE, limit=9)
    assert batch["batch_id"] in {each.batch_id for each in finished if each.is_finished}
    event = await _leased_event(record, later)
    attempt = _attempt(later, "delivered", next_attempt_at=None)
    await record.call("webhooks.record_attempt", EVERYONE, event, attempt)
    await record.call("webhooks.list_batch_deliveries", MINE, **batch, limit=9)
    await record.call("webhooks.replay_event", MINE, delivery_id=attempt.delivery_id, user_id=USER)
    await record.call("batches.delete", MINE, **batch)


async def _leased_event(record: Recorder, at: datetime) -> LeasedEvent:
    limits = DeliveryLimits(per_host=2, per_user=2, per_lane=2)
    lanes, _ = await record.call("webhooks.due_events.longest_due", EVERYONE, now=at)
    assert await record.call("webhooks.due_events.visit", EVERYONE, Rotation()) == lanes
    [event] = await record.call(
        "webhooks.due_events.lease_due", EVERYONE, lanes, now=at, lease=MINUTE, limits=limits, limit=9
    )
    leased: LeasedEvent = event
    return leased


def _attempt(at: datetime, outcome: str, *, next_attempt_at: datetime | None) -> DeliveryAttempt:
    answered = {"status_code": 204, "error": None, "response_excerpt": "ok"}
    unanswered = {"status_code": None, "error": {"code": "target_timeout", "message": "m"}, "response_excerpt": None}
    response: dict[str, Any] = answered if outcome == "delivered" else unanswered
    return DeliveryAttempt(
        delivery_id=uuid4(), started_at=at, latency_ms=9, outcome=outcome, next_attempt_at=next_attempt_at, **response
    )


async def _stats(record: Recorder) -> None:
    await record.call("stats.acquire_lease", EVERYONE, holder=uuid4(), lease=MINUTE)
    for what in ("queued", "processing", "pending_events", "by_status", "active_users"):
        await record.call(f"stats.count_{what}", EVERYONE)
    await record.call("stats.top_users", EVERYONE, limit=9)


async def _usage(record: Recorder) -> None:
    span = {"first": (now() - DAY).date(), "end": (now() + 2 * DAY).date()}
    await record.call("usage.by_day", MINE, user_id=USER, **span)
    await record.call("usage.of_everyone_by_day", EVERYONE, **span)
    await record.call("usage.of_everyone_by_user", EVERYONE, **span, after="", limit=9)


async def _erasure(record: Recorder, job_id: UUID) -> None:
    await record.call("jobs.transitions.erase", MINE, job_id=job_id, user_id=USER)
    await record.call("retention.lease_deletions", EVERYONE, kind="job", lease=MINUTE, limit=9)
    await record.call("retention.complete_erasures", EVERYONE, [job_id], lease=MINUTE, upload_grace=DAY)
    await record.call("retention.complete_erasures", EVERYONE, [job_id], lease=MINUTE, upload_grace=timedelta(0))
