"""Retention deletes exactly what has expired, and a second run finds nothing to do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from tests.integration.retention.conftest import Scene

from pixelflow.adapters.postgres.database import of_user
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.controlplane.retention import store
from pixelflow.controlplane.retention.gc import FILE_BATCH, LEASE, RemovedKind
from pixelflow.errors import ObjectsUnavailableError, StoreUnavailableError
from pixelflow.settings import Settings
from pixelflow.settings.retention import SLOWEST_TRANSFER


def output_key(job_id: UUID, attempt: int = 1) -> str:
    return f"outputs/{job_id}/{attempt}/small.webp"


def add_event(scene: Scene, job_id: UUID, status: str) -> str:
    """Insert an event of the job, with a delivery."""
    event_id = f"msg_{uuid4().hex}"
    scene.eye.execute(
        "INSERT INTO events (event_id, job_id, run, user_id, type, url, status) "
        "VALUES (%s, %s, 1, 'user', 'job.completed', 'https://client.example/', %s)",
        (event_id, job_id, status),
    )
    scene.eye.execute(
        "INSERT INTO deliveries (delivery_id, event_id, user_id, attempt, started_at, latency_ms, outcome) "
        "VALUES (%s, %s, 'user', 1, now(), 1, 'retried')",
        (uuid4(), event_id),
    )
    return event_id


def add_key(scene: Scene, key: str, *, days: float, job_id: UUID | None = None) -> None:
    """Insert an idempotency key with a stored response."""
    scene.eye.execute(
        "INSERT INTO idempotency_keys (user_id, key, fingerprint, job_id, resource_id, holder, lease_until, status, "
        "ciphertext, created_at) VALUES ('user', %s, 'x', %s, %s, %s, now(), 200, 'x', now() - %s)",
        (key, job_id, uuid4(), uuid4(), timedelta(days=days)),
    )


def add_jobs_that_stay(scene: Scene) -> None:
    """Insert jobs with nothing expired, and objects that no row names."""
    scene.age(scene.put("created"), days=6)
    scene.age(scene.put("queued"), days=1000)
    scene.claim(scene.age(scene.put("queued"), days=1000))
    scene.age(scene.succeed(scene.put("queued")), days=9)
    scene.age(scene.put("canceled"), days=9)
    scene.age(scene.hand_back(scene.put("queued")), hours=1)
    add_event(scene, scene.put("canceled"), "delivered")
    pending = add_event(scene, scene.put("canceled"), "pending")
    scene.eye.execute("UPDATE events SET next_attempt_at = now() - interval '91 days' WHERE event_id = %s", (pending,))
    add_key(scene, "young", days=0.9)
    scene.store("uploads/unknown")
    scene.store(f"outputs/{uuid4()}/1/small.webp")


async def test_exactly_what_has_expired_is_deleted_and_a_second_run_does_nothing(scene: Scene) -> None:
    add_jobs_that_stay(scene)
    stays = scene.everything()
    assert await scene.run() == 0
    assert scene.everything() == stays

    never_started = scene.age(scene.put("created"), days=8)
    failed = scene.age(scene.fail(scene.put("queued")), days=11)
    canceled = scene.age(scene.put("canceled"), days=11)
    half_kept = scene.age(scene.succeed(scene.put("queued")), days=15)
    at_second_attempt = scene.age(scene.succeed(scene.hand_back(scene.put("queued"))), hours=3)
    expired = scene.age(scene.succeed(scene.put("queued")), days=21)
    old_event = add_event(scene, at_second_attempt, "exhausted")
    scene.eye.execute(
        "UPDATE events SET next_attempt_at = now() - interval '91 days' WHERE event_id = %s", (old_event,)
    )
    old = scene.age(scene.succeed(scene.hand_back(scene.put("queued"))), days=91)
    add_key(scene, "old", days=1.1)
    before, keys_before = scene.counts(), scene.keys()

    assert await scene.run() > 0
    gone = keys_before - scene.keys()
    assert gone == {
        source_key(never_started),
        *(source_key(failed), output_key(failed)),
        source_key(canceled),
        source_key(half_kept),
        output_key(at_second_attempt),
        *(source_key(expired), output_key(expired)),
        *(source_key(old), output_key(old, 1), output_key(old, 2)),
    }
    assert {table: before[table] - count for table, count in scene.counts().items()} == {
        "jobs": 0,  # the tombstone of the never-started job stays until its upload URL has expired
        "attempts": 2,
        "outputs": 0,
        "pending_deletions": 2,  # three of orphans less, and the tombstone's one more
        "events": 1,
        "deliveries": 1,
        "usage_logs": 0,
        "idempotency_keys": 1,
    }
    assert scene.removed == {
        RemovedKind.UPLOAD: 1,
        RemovedKind.SOURCE: 5,
        RemovedKind.OUTPUT: 2,
        RemovedKind.ORPHAN: 3,
        RemovedKind.EVENT: 1,
        RemovedKind.DELIVERY: 1,
        RemovedKind.ATTEMPT: 2,
        RemovedKind.IDEMPOTENCY_KEY: 1,
    }

    after = scene.everything()
    assert await scene.run() == 0
    assert scene.everything() == after
    scene.age(never_started, days=1)
    assert await scene.run() == 1
    assert scene.row(never_started) is None


async def test_old_rows_are_deleted_even_if_expiring_fails(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> int:
        raise StoreUnavailableError("Postgres cancels the statement")

    monkeypatch.setattr(store, "expire_sources", fail)
    add_key(scene, "old", days=1.1)
    with pytest.raises(StoreUnavailableError, match="cancels"):
        await scene.rows().run_once()
    assert scene.removed == {RemovedKind.IDEMPOTENCY_KEY: 1}


async def test_files_of_finished_jobs_are_kept_by_default(scene: Scene, quiet: Settings) -> None:
    scene.settings = quiet
    jobs = [scene.put("canceled"), scene.succeed(scene.put("queued"))]
    for job_id in jobs:
        scene.age(job_id, days=89)
    before = scene.everything()
    assert await scene.run() == 0
    assert scene.everything() == before


async def test_a_job_is_deleted_after_its_files_and_its_usage_stays(scene: Scene) -> None:
    job_id = scene.age(scene.succeed(scene.hand_back(scene.put("queued"))), days=31)
    young = scene.age(scene.succeed(scene.put("queued")), days=29)
    rows = scene.rows(source=30, output=30, job=30)
    assert [await rows.run_once(), await rows.run_once()] == [2, 0], "its source and its output, not the job"
    assert scene.row(job_id)
    assert await scene.run(source=30, output=30, job=30) > 0
    assert (scene.row(job_id), scene.keys(job_id)) == (None, set())
    assert len(scene.keys(young)) == 2
    assert (
        scene.counts() | {"jobs": 1, "outputs": 1, "attempts": 1, "usage_logs": 2, "pending_deletions": 0}
        == scene.counts()
    )
    assert scene.removed[RemovedKind.JOB] == 1


async def test_files_without_a_period_are_deleted_with_their_job(scene: Scene, quiet: Settings) -> None:
    scene.settings = quiet
    job_id = scene.age(scene.succeed(scene.put("queued")), days=31)
    await scene.run(job=30)
    assert (scene.row(job_id), scene.keys(job_id)) == (None, set())


async def test_a_job_stays_while_an_event_is_pending(scene: Scene) -> None:
    job_id = scene.age(scene.put("canceled"), days=31)
    event_id = add_event(scene, job_id, "pending")
    await scene.run(job=30)
    assert scene.row(job_id)
    scene.eye.execute("UPDATE events SET status = 'delivered' WHERE event_id = %s", (event_id,))
    await scene.run(job=30)
    assert scene.row(job_id) is None


async def test_a_never_started_job_is_erased_without_an_event(scene: Scene) -> None:
    job_id = scene.age(scene.put("created", webhook_url="https://client.example/"), days=8)
    add_key(scene, "create", days=0.1, job_id=job_id)
    await scene.rows().run_once()
    row = scene.row(job_id)
    assert row
    assert (row["status"], row["erased_at"] is None, row["webhook_url"]) == ("canceled", False, None)
    assert scene.counts()["events"] == 0
    kept = scene.eye.execute("SELECT job_erased, ciphertext FROM idempotency_keys").fetchall()
    assert kept == [{"job_erased": True, "ciphertext": None}]


async def test_deleting_the_files_of_attempt_1_keeps_those_of_attempt_12(scene: Scene) -> None:
    job_id = scene.hand_back(scene.put("queued"))
    scene.eye.execute("UPDATE jobs SET lease_token = 11 WHERE job_id = %s", (job_id,))
    scene.succeed(job_id)
    scene.age(job_id, hours=3)
    await scene.run()
    assert scene.keys(job_id) == {source_key(job_id), output_key(job_id, 12)}


@pytest.mark.parametrize("outcome", ["lost", "canceled", "failed", "retried"])
async def test_orphans_are_deleted_only_when_the_worker_can_store_no_more(scene: Scene, outcome: str) -> None:
    job_id = scene.put("queued")
    scene.claim(job_id)
    scene.eye.execute("UPDATE attempts SET ended_at = now(), outcome = %s WHERE job_id = %s", (outcome, job_id))
    longest = [each.le for each in Settings.model_fields["lease_seconds"].metadata if hasattr(each, "le")]
    scene.age(job_id, seconds=longest[0] + SLOWEST_TRANSFER.total_seconds() - 60)
    assert await scene.files().run_once() == 0
    scene.age(job_id, seconds=60)
    assert [await scene.files().run_once(), await scene.files().run_once()] == [1, 0]
    assert scene.keys(job_id) == {source_key(job_id)}


# ── Local files ──────────────────────────────────────────────────────────────────────────────────


async def test_outputs_under_a_local_root_expire_and_sources_never_do(scene: Scene) -> None:
    photo = scene.root / "photo.jpg"
    photo.write_bytes(b"original")
    kept, removed, at_second_attempt = (
        scene.put("queued", source_type="local_file", source_key=str(photo)) for _ in range(3)
    )
    scene.age(scene.succeed(kept), days=15)
    scene.age(scene.succeed(removed), days=21)
    scene.age(scene.succeed(scene.hand_back(at_second_attempt)), hours=3)
    canceled = scene.put("canceled", source_type="local_file", source_key=str(photo))
    scene.age(canceled, days=1000)
    await scene.run()
    assert {path for path in scene.root.rglob("*") if path.is_file()} == {
        photo,
        scene.root / "pixelflow-outputs" / str(kept) / "1" / "small.webp",
        scene.root / "pixelflow-outputs" / str(at_second_attempt) / "2" / "small.webp",
    }
    assert scene.removed == {RemovedKind.OUTPUT: 1, RemovedKind.ORPHAN: 1}
    row = scene.row(canceled)
    assert row
    assert row["source_expired_at"] is None


async def test_a_root_that_is_no_longer_allowed_is_not_touched(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> None:
    photo = scene.root / "photo.jpg"
    photo.write_bytes(b"original")
    job_id = scene.succeed(scene.put("queued", source_type="local_file", source_key=str(photo)))
    scene.age(job_id, days=21)
    await scene.rows().run_once()
    await scene.files(local_roots=(Path(tmp_path_factory.mktemp("other")),)).run_once()
    assert (scene.root / "pixelflow-outputs" / str(job_id) / "1" / "small.webp").exists()


# ── Failures and concurrency ─────────────────────────────────────────────────────────────────────


async def test_deletions_that_fail_are_repeated_after_their_lease(scene: Scene) -> None:
    job_id = scene.age(scene.put("canceled"), days=11)
    await scene.rows().run_once()
    with pytest.raises(ObjectsUnavailableError):
        await scene.files(s3_endpoint_url="http://127.0.0.1:1").run_once()
    assert scene.keys(job_id)
    assert await scene.files().run_once() == 0, "their lease is still valid"
    scene.age(job_id, seconds=LEASE.total_seconds())
    assert await scene.files().run_once() == 1
    assert not scene.keys(job_id)


async def test_files_under_a_local_root_are_deleted_while_storage_is_unavailable(scene: Scene) -> None:
    photo = scene.root / "photo.jpg"
    photo.write_bytes(b"original")
    local = scene.succeed(scene.put("queued", source_type="local_file", source_key=str(photo)))
    for job_id in (local, scene.put("canceled")):
        scene.age(job_id, days=21)
    await scene.rows().run_once()
    with pytest.raises(ObjectsUnavailableError):
        await scene.files(s3_endpoint_url="http://127.0.0.1:1").run_once()
    assert scene.removed == {RemovedKind.OUTPUT: 1}


class _Locked(ObjectStorage):
    """Storage that refuses to delete one object, as under a legal hold."""

    held = ""

    async def remove(self, keys: Sequence[str]) -> None:
        if self.held in keys:
            raise ObjectsUnavailableError("Object storage is not available; try again shortly")
        await super().remove(keys)


async def test_an_object_that_storage_refuses_to_delete_does_not_block_others(scene: Scene) -> None:
    jobs = [scene.age(scene.put("canceled"), days=11) for _ in range(5)]
    await scene.rows().run_once()
    storage = _Locked(scene.settings)
    storage.held = source_key(jobs[2])
    with pytest.raises(ObjectsUnavailableError):
        await scene.files(storage).run_once()
    assert [bool(scene.keys(job_id)) for job_id in jobs] == [False, False, True, False, False]
    assert (scene.counts()["pending_deletions"], scene.removed) == (1, {RemovedKind.SOURCE: 4})


async def test_deleting_a_missing_object_succeeds(scene: Scene) -> None:
    job_id = scene.age(scene.put("canceled", uploaded=False), days=11)
    await scene.run()
    row = scene.row(job_id)
    assert row
    assert row["source_expired_at"] is not None
    assert scene.counts()["pending_deletions"] == 0


async def test_two_controllers_share_the_work(scene: Scene) -> None:
    jobs = [scene.age(scene.succeed(scene.put("queued")), days=21) for _ in range(30)]
    jobs += [scene.age(scene.put("created"), days=8) for _ in range(10)]
    await asyncio.gather(*(scene.run() for _ in range(2)))
    assert scene.keys() == set()
    assert scene.removed == {RemovedKind.SOURCE: 30, RemovedKind.OUTPUT: 30, RemovedKind.UPLOAD: 10}


async def test_more_than_a_batch_takes_several_passes(scene: Scene) -> None:
    expired = [scene.put("canceled", uploaded=False) for _ in range(FILE_BATCH + 1)]
    for job_id in expired:
        scene.age(job_id, days=11)
    await scene.rows().run_once()
    assert [await scene.files().run_once() for _ in range(3)] == [FILE_BATCH, 1, 0]


async def test_a_user_s_connection_can_not_delete_files_of_others(scene: Scene) -> None:
    job_id = scene.age(scene.put("canceled"), days=11)
    async with scene.database.connection(of_user("another")) as connection:
        await connection.execute("UPDATE jobs SET source_expired_at = now()")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("INSERT INTO pending_deletions VALUES (%s, 'source', 0, now())", (job_id,))
    row = scene.row(job_id)
    assert row
    assert row["source_expired_at"] is None


async def test_an_upload_of_a_job_that_was_canceled_unstarted_is_deleted_when_no_more_can_arrive(scene: Scene) -> None:
    old = scene.age(scene.put("canceled", queued_at=None), days=7.1)
    just_canceled = scene.age(scene.put("canceled", queued_at=None), days=7.1)
    scene.eye.execute("UPDATE jobs SET finished_at = now() WHERE job_id = %s", (just_canceled,))
    young = scene.age(scene.put("canceled", queued_at=None), days=6.9)
    started = scene.age(scene.put("canceled"), days=8)
    await scene.run()
    assert {job_id for job_id in (old, just_canceled, young, started) if scene.keys(job_id)} == {
        just_canceled,
        young,
        started,
    }
    row = scene.row(just_canceled)
    assert row
    assert row["source_expired_at"]
    scene.age(just_canceled, hours=3)
    await scene.run()
    assert not scene.keys(just_canceled)
