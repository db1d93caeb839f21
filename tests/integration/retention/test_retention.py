"""What should be gone is gone, what should stay stays, and a second run finds nothing to do."""

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
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.contracts.errors import ObjectsUnavailableError
from pixelflow.controlplane.controller.metrics import RemovedKind
from pixelflow.controlplane.retention.remover import BATCH, PATIENCE, Remover
from pixelflow.settings import Settings
from pixelflow.settings.retention import SLOWEST_TRANSFER


def output_key(job_id: UUID, attempt: int = 1) -> str:
    return f"outputs/{job_id}/{attempt}/small.webp"


def add_event(scene: Scene, job_id: UUID, status: str) -> str:
    """An event of the job, and a try at it."""
    event_id = f"msg_{uuid4().hex}"
    scene.eye.execute(
        "INSERT INTO events (event_id, job_id, run, user_id, type, url, status) "
        "VALUES (%s, %s, 1, 'user', 'job.completed', 'https://client.example/', %s)",
        (event_id, job_id, status),
    )
    scene.eye.execute(
        "INSERT INTO deliveries (delivery_id, event_id, user_id, try, started_at, latency_ms, outcome) "
        "VALUES (%s, %s, 'user', 1, now(), 1, 'retried')",
        (uuid4(), event_id),
    )
    return event_id


def add_key(scene: Scene, key: str, *, days: float, job_id: UUID | None = None) -> None:
    """An answer that is kept for a repeated request."""
    scene.eye.execute(
        "INSERT INTO idempotency_keys (user_id, key, fingerprint, job_id, resource_id, holder, lease_until, status, "
        "sealed, created_at) VALUES ('user', %s, 'x', %s, %s, %s, now(), 200, 'x', now() - %s)",
        (key, job_id, uuid4(), uuid4(), timedelta(days=days)),
    )


def left_alone(scene: Scene) -> None:
    """Jobs that have nothing whose time is over, or nobody knows of."""
    scene.age(scene.put("created"), days=6)
    scene.age(scene.put("queued"), days=1000)
    scene.claim(scene.age(scene.put("queued"), days=1000))
    scene.age(scene.succeed(scene.put("queued")), days=9)
    scene.age(scene.put("canceled"), days=9)
    scene.age(scene.hand_back(scene.put("queued")), hours=1)
    add_event(scene, scene.put("canceled"), "delivered")
    pending = add_event(scene, scene.put("canceled"), "pending")
    scene.eye.execute("UPDATE events SET next_try_at = now() - interval '91 days' WHERE event_id = %s", (pending,))
    add_key(scene, "young", days=0.9)
    scene.store("uploads/of-somebody-else")
    scene.store(f"outputs/{uuid4()}/1/small.webp")


async def test_exactly_what_should_be_gone_is_gone_and_a_second_run_does_nothing(scene: Scene) -> None:
    left_alone(scene)
    stays = scene.everything()
    assert await scene.run() == 0
    assert scene.everything() == stays

    never_started = scene.age(scene.put("created"), days=8)
    failed = scene.age(scene.fail(scene.put("queued")), days=11)
    canceled = scene.age(scene.put("canceled"), days=11)
    half_kept = scene.age(scene.succeed(scene.put("queued")), days=15)
    at_second_try = scene.age(scene.succeed(scene.hand_back(scene.put("queued"))), hours=3)
    expired = scene.age(scene.succeed(scene.put("queued")), days=21)
    old_event = add_event(scene, at_second_try, "exhausted")
    scene.eye.execute("UPDATE events SET next_try_at = now() - interval '91 days' WHERE event_id = %s", (old_event,))
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
        output_key(at_second_try),
        *(source_key(expired), output_key(expired)),
        *(source_key(old), output_key(old, 1), output_key(old, 2)),
    }
    assert {table: before[table] - count for table, count in scene.counts().items()} == {
        "jobs": 0,  # the tombstone of the one that never started waits for what may still arrive
        "attempts": 2,
        "outputs": 0,
        "removals": 3,  # of the attempts that came to nothing
        "events": 1,
        "deliveries": 1,
        "usage_logs": 0,
        "idempotency_keys": 1,
    }
    assert scene.told == {
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


async def test_nothing_that_a_finished_job_owns_goes_unless_the_operator_says_so(scene: Scene, quiet: Settings) -> None:
    scene.settings = quiet
    jobs = [scene.put("canceled"), scene.succeed(scene.put("queued"))]
    for job_id in jobs:
        scene.age(job_id, days=89)
    before = scene.everything()
    assert await scene.run() == 0
    assert scene.everything() == before


async def test_a_job_goes_after_its_files_and_leaves_what_it_is_billed_by(scene: Scene) -> None:
    job_id = scene.age(scene.succeed(scene.hand_back(scene.put("queued"))), days=31)
    young = scene.age(scene.succeed(scene.put("queued")), days=29)
    expirer = scene.expirer(source=30, output=30, job=30)
    assert [await expirer.run_once(), await expirer.run_once()] == [2, 0], "its source and its output; not itself"
    assert scene.row(job_id)
    assert await scene.run(source=30, output=30, job=30) > 0
    assert (scene.row(job_id), scene.keys(job_id)) == (None, set())
    assert len(scene.keys(young)) == 2
    assert scene.counts() | {"jobs": 1, "outputs": 1, "attempts": 1, "usage_logs": 2, "removals": 0} == scene.counts()
    assert scene.told[RemovedKind.JOB] == 1


async def test_files_that_are_kept_go_with_their_job(scene: Scene, quiet: Settings) -> None:
    scene.settings = quiet
    job_id = scene.age(scene.succeed(scene.put("queued")), days=31)
    await scene.run(job=30)
    assert (scene.row(job_id), scene.keys(job_id)) == (None, set())


async def test_a_job_stays_while_somebody_is_to_be_told_of_it(scene: Scene) -> None:
    job_id = scene.age(scene.put("canceled"), days=31)
    event_id = add_event(scene, job_id, "pending")
    await scene.run(job=30)
    assert scene.row(job_id)
    scene.eye.execute("UPDATE events SET status = 'delivered' WHERE event_id = %s", (event_id,))
    await scene.run(job=30)
    assert scene.row(job_id) is None


async def test_a_job_that_never_started_is_erased_as_if_by_its_owner_and_nobody_is_told(scene: Scene) -> None:
    job_id = scene.age(scene.put("created", webhook_url="https://client.example/"), days=8)
    add_key(scene, "create", days=0.1, job_id=job_id)
    await scene.expirer().run_once()
    row = scene.row(job_id)
    assert row
    assert (row["status"], row["erased_at"] is None, row["webhook_url"]) == ("canceled", False, None)
    assert scene.counts()["events"] == 0
    kept = scene.eye.execute("SELECT job_erased, sealed FROM idempotency_keys").fetchall()
    assert kept == [{"job_erased": True, "sealed": None}]


async def test_an_attempt_s_files_are_not_taken_for_those_of_one_whose_number_begins_alike(scene: Scene) -> None:
    job_id = scene.hand_back(scene.put("queued"))
    scene.eye.execute("UPDATE jobs SET lease_token = 11 WHERE job_id = %s", (job_id,))
    scene.succeed(job_id)
    scene.age(job_id, hours=3)
    await scene.run()
    assert scene.keys(job_id) == {source_key(job_id), output_key(job_id, 12)}


@pytest.mark.parametrize("outcome", ["lost", "canceled", "failed", "retried"])
async def test_what_a_dead_attempt_stored_goes_only_when_its_worker_can_store_no_more(
    scene: Scene, outcome: str
) -> None:
    job_id = scene.put("queued")
    scene.claim(job_id)
    scene.eye.execute("UPDATE attempts SET ended_at = now(), outcome = %s WHERE job_id = %s", (outcome, job_id))
    longest = [each.le for each in Settings.model_fields["lease_seconds"].metadata if hasattr(each, "le")]
    scene.age(job_id, seconds=longest[0] + SLOWEST_TRANSFER.total_seconds() - 60)
    assert await scene.remover().run_once() == 0
    scene.age(job_id, seconds=60)
    assert [await scene.remover().run_once(), await scene.remover().run_once()] == [1, 0]
    assert scene.keys(job_id) == {source_key(job_id)}


# ── Local files ──────────────────────────────────────────────────────────────────────────────────


async def test_outputs_under_a_local_root_expire_and_the_operator_s_own_files_never_do(scene: Scene) -> None:
    photo = scene.root / "photo.jpg"
    photo.write_bytes(b"the operator's")
    kept, removed, at_second_try = (
        scene.put("queued", source_type="local_file", source_key=str(photo)) for _ in range(3)
    )
    scene.age(scene.succeed(kept), days=15)
    scene.age(scene.succeed(removed), days=21)
    scene.age(scene.succeed(scene.hand_back(at_second_try)), hours=3)
    canceled = scene.put("canceled", source_type="local_file", source_key=str(photo))
    scene.age(canceled, days=1000)
    await scene.run()
    assert {path for path in scene.root.rglob("*") if path.is_file()} == {
        photo,
        scene.root / "pixelflow-outputs" / str(kept) / "1" / "small.webp",
        scene.root / "pixelflow-outputs" / str(at_second_try) / "2" / "small.webp",
    }
    assert scene.told == {RemovedKind.OUTPUT: 1, RemovedKind.ORPHAN: 1}
    row = scene.row(canceled)
    assert row
    assert row["source_expired_at"] is None


async def test_a_root_that_is_no_longer_allowed_is_not_touched(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> None:
    photo = scene.root / "photo.jpg"
    photo.write_bytes(b"the operator's")
    job_id = scene.succeed(scene.put("queued", source_type="local_file", source_key=str(photo)))
    scene.age(job_id, days=21)
    await scene.expirer().run_once()
    await scene.remover(local_roots=(Path(tmp_path_factory.mktemp("other")),)).run_once()
    assert (scene.root / "pixelflow-outputs" / str(job_id) / "1" / "small.webp").exists()


# ── What goes wrong, and what happens at once ────────────────────────────────────────────────────


async def test_a_round_that_object_storage_interrupts_is_done_again_and_not_at_once(scene: Scene) -> None:
    job_id = scene.age(scene.put("canceled"), days=11)
    await scene.expirer().run_once()
    with pytest.raises(ObjectsUnavailableError):
        await scene.remover(s3_endpoint_url="http://127.0.0.1:1").run_once()
    assert scene.keys(job_id)
    assert await scene.remover().run_once() == 0, "not at once: it would meet the same"
    scene.age(job_id, seconds=PATIENCE.total_seconds())
    assert await scene.remover().run_once() == 1
    assert not scene.keys(job_id)


async def test_that_storage_is_away_does_not_keep_files_under_a_local_root(scene: Scene) -> None:
    photo = scene.root / "photo.jpg"
    photo.write_bytes(b"the operator's")
    local = scene.succeed(scene.put("queued", source_type="local_file", source_key=str(photo)))
    for job_id in (local, scene.put("canceled")):
        scene.age(job_id, days=21)
    await scene.expirer().run_once()
    with pytest.raises(ObjectsUnavailableError):
        await scene.remover(s3_endpoint_url="http://127.0.0.1:1").run_once()
    assert scene.told == {RemovedKind.OUTPUT: 1}


class _Locked(ObjectStorage):
    """Storage in which one object may not be removed, as under a legal hold."""

    held = ""

    async def remove(self, keys: Sequence[str]) -> None:
        if self.held in keys:
            raise ObjectsUnavailableError("Object storage is not available; try again shortly")
        await super().remove(keys)


async def test_what_storage_refuses_to_remove_keeps_nothing_else(scene: Scene) -> None:
    jobs = [scene.age(scene.put("canceled"), days=11) for _ in range(5)]
    await scene.expirer().run_once()
    storage = _Locked(scene.settings)
    storage.held = source_key(jobs[2])
    with pytest.raises(ObjectsUnavailableError):
        await Remover(scene.database, storage, LocalFiles(()), removed=scene.tell).run_once()
    assert [bool(scene.keys(job_id)) for job_id in jobs] == [False, False, True, False, False]
    assert (scene.counts()["removals"], scene.told) == (1, {RemovedKind.SOURCE: 4})


async def test_what_is_gone_already_is_as_good_as_removed(scene: Scene) -> None:
    job_id = scene.age(scene.put("canceled", uploaded=False), days=11)
    await scene.run()
    row = scene.row(job_id)
    assert row
    assert row["source_expired_at"] is not None
    assert scene.counts()["removals"] == 0


async def test_two_of_each_at_once_share_the_work(scene: Scene) -> None:
    jobs = [scene.age(scene.succeed(scene.put("queued")), days=21) for _ in range(30)]
    jobs += [scene.age(scene.put("created"), days=8) for _ in range(10)]
    await asyncio.gather(*(scene.run() for _ in range(2)))
    assert scene.keys() == set()
    assert scene.told == {RemovedKind.SOURCE: 30, RemovedKind.OUTPUT: 30, RemovedKind.UPLOAD: 10}


async def test_more_than_a_batch_is_done_in_several_rounds(scene: Scene) -> None:
    expired = [scene.put("canceled", uploaded=False) for _ in range(BATCH + 1)]
    for job_id in expired:
        scene.age(job_id, days=11)
    await scene.expirer().run_once()
    assert [await scene.remover().run_once() for _ in range(3)] == [BATCH, 1, 0]


async def test_a_connection_of_one_user_expires_nobody_else_s_files(scene: Scene) -> None:
    job_id = scene.age(scene.put("canceled"), days=11)
    async with scene.database.connection(of_user("another")) as connection:
        await connection.execute("UPDATE jobs SET source_expired_at = now()")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("INSERT INTO removals VALUES (%s, 'source', 0, now())", (job_id,))
    row = scene.row(job_id)
    assert row
    assert row["source_expired_at"] is None
