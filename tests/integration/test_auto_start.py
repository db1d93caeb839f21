"""Jobs that start by themselves: checks of their sources, by one controller and by several."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from tests.integration.conftest import FOR_ALL_USERS
from tests.integration.job_rows import assert_lanes_match, claim, put, queue_row, row_of
from tests.integration.test_uploads import put as upload
from tests.integration.test_uploads import send_upload
from tests.support.faulty_proxy import Fault, FaultyProxy
from tests.support.waiting import eventually

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase, Connection
from pixelflow.adapters.storage.local_files import LocalFiles
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.wakeup import WakeUpSender
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob, StartedJob
from pixelflow.controlplane.jobs import awaited
from pixelflow.controlplane.jobs.auto_start import BATCH, LEASE, AutoStarter, CheckOutcome
from pixelflow.controlplane.jobs.awaited import DUE_WINDOW
from pixelflow.controlplane.jobs.service import JobService
from pixelflow.errors import DependencyError, ObjectsUnavailableError
from pixelflow.settings import Settings

CONTENT = b"content"
STEP = {"id": "small", "action": "resize", "width": 60}
HOOK = "https://client.example/hook"


class Scene:
    """Users with jobs, and controllers."""

    def __init__(
        self, settings: Settings, database: AsyncDatabase, wakeups: WakeUpSender, connection: Connection
    ) -> None:
        self.settings = settings
        self.connection = connection
        self.database = database
        self.objects = ObjectStorage(settings)
        self.jobs = JobService(
            settings, database=database, wakeups=wakeups, objects=self.objects, local_files=LocalFiles(())
        )
        self.outcomes: Counter[CheckOutcome] = Counter()
        self.changed: list[str] = []
        self.controller = self.new_controller()

    def new_controller(self, jobs: JobService | None = None) -> AutoStarter:
        def count(outcome: CheckOutcome) -> None:
            self.outcomes[outcome] += 1

        return AutoStarter(
            self.database,
            self.objects,
            jobs or self.jobs,
            upload_grace=self.settings.upload_grace,
            on_check=count,
            on_change=self.changed.append,
            tick_seconds=0,
        )

    async def create(self, user_id: str = "user", **fields: Any) -> CreatedJob:  # noqa: ANN401
        body = {"pipeline": [STEP], "source": {"content_length": len(CONTENT)}, "auto_start": True, **fields}
        return await self.jobs.create(user_id, CreateJobRequest.model_validate(body), job_id=new_id())

    async def uploaded(self, user_id: str = "user", **fields: Any) -> UUID:  # noqa: ANN401
        created = await self.create(user_id, **fields)
        upload(created, CONTENT)
        return created.job_id

    async def check(self, controller: AutoStarter | None = None) -> int:
        """All checks are due: make a batch of them."""
        self.connection.execute("UPDATE awaited_sources SET next_check_at = least(next_check_at, now())")
        return await (controller or self.controller).run_once()

    def status(self, job_id: UUID) -> str:
        return str(row_of(self.connection, job_id)["status"])

    def awaited_row(self, job_id: UUID) -> dict[str, Any] | None:
        return self.connection.execute(
            "SELECT *, next_check_at - now() AS next FROM awaited_sources WHERE job_id = %s", (job_id,)
        ).fetchone()


@pytest.fixture
def proxy(quiet: Settings) -> Iterator[FaultyProxy]:
    """Before the object storage that controllers ask."""
    parts = urlsplit(quiet.s3_endpoint_url)
    made = FaultyProxy((parts.hostname or "", parts.port or 0))
    yield made
    made.close()


@pytest.fixture
async def scene(
    connection: Connection, quiet: Settings, async_database: AsyncDatabase, proxy: FaultyProxy
) -> AsyncIterator[Scene]:
    limits = {"max_source_bytes": 10, "upload_length": "optional"}
    servers = {"s3_endpoint_url": f"http://{proxy.address}", "s3_public_endpoint_url": quiet.s3_endpoint_url}
    async with WakeUpSender(quiet.redis_url.get_secret_value()) as wakeups:
        yield Scene(quiet.model_copy(update=limits | servers), async_database, wakeups, connection)


# ── Starts ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_starts_when_its_upload_has_arrived(scene: Scene) -> None:
    created = await scene.create()
    await scene.check()
    assert scene.status(created.job_id) == "created"
    upload(created, CONTENT)
    await scene.check()
    assert scene.awaited_row(created.job_id) is None
    assert scene.outcomes == {CheckOutcome.WAITING: 1, CheckOutcome.STARTED: 1}
    claimed = claim(scene.connection, created.job_id)
    assert claimed
    found = await scene.objects.find(source_key(created.job_id))
    assert found
    assert (claimed.source_version, row_of(scene.connection, created.job_id)["source_bytes"]) == (found.version, 7)
    assert_lanes_match(scene.connection)


async def test_a_job_without_auto_start_waits_for_its_owner(scene: Scene) -> None:
    job_id = await scene.uploaded(auto_start=False)
    assert await scene.check() == 0
    assert scene.status(job_id) == "created"


async def test_the_trace_of_a_job_is_that_of_the_request_that_created_it(scene: Scene) -> None:
    request = CreateJobRequest.model_validate({"pipeline": [STEP], "auto_start": True})
    trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    created = await scene.jobs.create("user", request, job_id=new_id(), traceparent=trace)
    upload(created, CONTENT)
    await scene.check()
    assert row_of(scene.connection, created.job_id)["traceparent"] == trace


async def test_a_job_that_its_owner_starts_meanwhile_is_started_once(scene: Scene) -> None:
    job_ids = [await scene.uploaded() for _ in range(10)]
    starts = [scene.jobs.start("user", job_id, traceparent=None) for job_id in job_ids]
    *started, checked = await asyncio.gather(*starts, scene.check())
    assert checked == len(job_ids)
    assert [each.job_id for each in started if isinstance(each, StartedJob)] == job_ids
    for job_id in job_ids:
        assert queue_row(scene.connection, job_id)
        assert scene.awaited_row(job_id) is None
        assert row_of(scene.connection, job_id)["run"] == 1
    assert_lanes_match(scene.connection)


@pytest.mark.parametrize("end", ["cancel", "erase"])
async def test_a_job_that_its_owner_ended_is_not_awaited_any_more(scene: Scene, end: str) -> None:
    job_id = await scene.uploaded()
    await getattr(scene.jobs, end)("user", job_id)
    await scene.check()
    assert scene.status(job_id) == "canceled"
    assert scene.awaited_row(job_id) is None
    assert scene.outcomes == {CheckOutcome.ENDED: 1}


async def test_the_source_of_an_earlier_job_needs_no_wait(scene: Scene) -> None:
    earlier = await scene.uploaded(auto_start=False)
    await scene.jobs.start("user", earlier, traceparent=None)
    again = await scene.create(source={"job": str(earlier)})
    assert await scene.controller.run_once() == 1
    assert scene.status(again.job_id) == "queued"


# ── Sources that a job can't run with ────────────────────────────────────────────────────────────


async def test_a_job_with_an_upload_over_the_limit_fails_and_tells_its_owner(scene: Scene) -> None:
    created = await scene.create(source={}, webhook_url=HOOK)
    assert send_upload(created, b"more than the ten") == 200
    await scene.check()
    job = row_of(scene.connection, created.job_id)
    assert (job["status"], job["error"]["code"], job["queued_at"]) == ("failed", "source_too_large", None)
    assert "the limit is 10" in job["error"]["message"]
    assert await scene.objects.find(source_key(created.job_id)) is None
    event = scene.connection.execute("SELECT type FROM events WHERE job_id = %s", (created.job_id,)).fetchone()
    assert event == {"type": "job.failed"}
    due = "SELECT kind, due_at > now() + interval '1 hour' AS is_later FROM pending_deletions WHERE job_id = %s"
    assert scene.connection.execute(due, (created.job_id,)).fetchone() == {"kind": "source", "is_later": True}
    assert scene.awaited_row(created.job_id) is None
    assert scene.changed == ["user"]


async def test_a_controller_that_dies_before_the_job_has_failed_leaves_the_upload_for_the_next(
    scene: Scene, database_url: str
) -> None:
    created = await scene.create(source={})
    assert send_upload(created, b"more than the ten") == 200
    with psycopg.connect(database_url, options=FOR_ALL_USERS) as other:
        other.execute("SELECT FROM jobs WHERE job_id = %s FOR UPDATE", (created.job_id,))
        dying = asyncio.create_task(scene.check())
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%''failed''%'"
        await asyncio.to_thread(eventually, lambda: scene.connection.execute(waiting).fetchone() is not None)
        assert await scene.objects.find(source_key(created.job_id))
        dying.cancel()
        await asyncio.wait([dying])
    await scene.check(scene.new_controller())
    assert row_of(scene.connection, created.job_id)["error"]["code"] == "source_too_large"
    assert await scene.objects.find(source_key(created.job_id)) is None


async def test_a_job_whose_earlier_job_was_erased_fails(scene: Scene) -> None:
    earlier = await scene.uploaded(auto_start=False)
    await scene.jobs.start("user", earlier, traceparent=None)
    again = await scene.create(source={"job": str(earlier)})
    await scene.jobs.erase("user", earlier)
    await scene.check()
    job = row_of(scene.connection, again.job_id)
    assert (job["status"], job["error"]["code"], job["source_expired_at"]) == ("failed", "source_missing", None)


# ── When sources are checked ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("waited", "next_check"),
    [("0.1 s", 0.5), ("5 s", 0.5), ("60 s", 6), ("30 min", 180), ("2 days", 300)],
)
async def test_a_source_is_checked_less_often_the_longer_it_is_awaited(
    scene: Scene, waited: str, next_check: float
) -> None:
    job_id = (await scene.create()).job_id
    scene.connection.execute(
        "UPDATE awaited_sources SET awaited_since = now() - %s::interval, awaited_until = now() + interval '1 h'",
        (waited,),
    )
    await scene.check()
    row = scene.awaited_row(job_id)
    assert row
    assert row["next"].total_seconds() == pytest.approx(next_check, rel=0.01, abs=0.4)


async def test_a_source_that_can_arrive_no_more_is_checked_a_last_time(scene: Scene) -> None:
    arrived, missing = await scene.uploaded(), (await scene.create()).job_id
    scene.connection.execute("UPDATE awaited_sources SET awaited_until = now() - interval '1 s'")
    await scene.check()
    assert (scene.status(arrived), scene.status(missing)) == ("queued", "created")
    assert scene.awaited_row(missing) is None


async def test_a_source_is_awaited_for_as_long_as_it_can_arrive(scene: Scene) -> None:
    job_id = (await scene.create()).job_id
    row = scene.awaited_row(job_id)
    assert row
    assert row["awaited_until"] - row["awaited_since"] == scene.settings.upload_grace


async def test_a_new_upload_url_is_awaited_as_long_as_the_first(scene: Scene) -> None:
    created = await scene.create()
    scene.connection.execute("DELETE FROM awaited_sources")
    request = CreateJobRequest.model_validate({"pipeline": [STEP], "auto_start": True})
    for _ in range(2):
        await scene.jobs.renew_upload("user", request, created)
        row = scene.awaited_row(created.job_id)
        assert row
        scene.connection.execute("UPDATE awaited_sources SET awaited_until = now() - interval '1 s'")
    await scene.jobs.renew_upload("user", request, created)
    upload(created, CONTENT)
    await scene.check()
    assert scene.status(created.job_id) == "queued"


# ── Failures, and several controllers ────────────────────────────────────────────────────────────


async def test_nothing_is_lost_while_storage_is_away(scene: Scene, proxy: FaultyProxy) -> None:
    job_ids = [await scene.uploaded() for _ in range(30)]
    scene.connection.execute("UPDATE awaited_sources SET awaited_until = now() - interval '1 s'")
    proxy.fault, before = Fault.REFUSE, proxy.requests
    with pytest.raises(ObjectsUnavailableError):
        await scene.check()
    assert proxy.requests - before < 80, "only the checks that were under way are made"
    assert {scene.status(job_id) for job_id in job_ids} == {"created"}
    proxy.fault = Fault.NONE
    await scene.check()
    assert {scene.status(job_id) for job_id in job_ids} == {"queued"}


async def test_a_bug_that_one_job_triggers_does_not_delay_the_others(scene: Scene) -> None:
    odd, sound = await scene.uploaded("a"), await scene.uploaded("b")

    class Buggy(JobService):
        async def start(
            self, user_id: str, job_id: UUID, *, traceparent: str | None, keep_refused: bool = False
        ) -> StartedJob:
            if job_id == odd:
                raise ZeroDivisionError
            return await super().start(user_id, job_id, traceparent=traceparent, keep_refused=keep_refused)

    async with WakeUpSender(scene.settings.redis_url.get_secret_value()) as wakeups:
        jobs = Buggy(
            scene.settings,
            database=scene.database,
            wakeups=wakeups,
            objects=scene.objects,
            local_files=LocalFiles(()),
        )
        await scene.check(scene.new_controller(jobs))
    assert (scene.status(odd), scene.status(sound)) == ("created", "queued")
    assert scene.awaited_row(odd)


async def test_controllers_share_the_checks(scene: Scene) -> None:
    job_ids = [await scene.uploaded(f"user-{number % 5}") for number in range(30)]
    controllers = [scene.new_controller() for _ in range(3)]
    scene.connection.execute("UPDATE awaited_sources SET next_check_at = now()")
    await asyncio.gather(*(each.run_once() for each in controllers))
    assert {scene.status(job_id) for job_id in job_ids} == {"queued"}
    assert scene.outcomes == {CheckOutcome.STARTED: 30}
    assert_lanes_match(scene.connection)


async def test_checks_of_a_controller_that_died_are_due_again(scene: Scene, proxy: FaultyProxy) -> None:
    job_id = await scene.uploaded()
    scene.connection.execute("UPDATE awaited_sources SET next_check_at = now()")
    proxy.fault = Fault.HANG
    dying = asyncio.create_task(scene.controller.run_once())

    def is_leased() -> bool:
        row = scene.awaited_row(job_id)
        return row is not None and row["next"] > timedelta(seconds=1)

    await asyncio.to_thread(eventually, is_leased)
    # Nothing is locked while the check is under way.
    scene.connection.execute("SELECT FROM awaited_sources, jobs WHERE jobs.job_id = %s FOR UPDATE NOWAIT", (job_id,))
    dying.cancel()
    await asyncio.wait([dying])
    proxy.fault = Fault.NONE
    assert await scene.new_controller().run_once() == 0
    row = scene.awaited_row(job_id)
    assert row
    assert row["next"] <= LEASE
    await scene.check()
    assert scene.status(job_id) == "queued"


# ── Fairness ─────────────────────────────────────────────────────────────────────────────────────


def never_uploaded(connection: Connection, user_id: str, count: int, *, due_for: str = "1 h") -> None:
    """Jobs of one user, without an upload, whose checks have been due for so long."""
    for _ in range(count):
        job_id = put(connection, "created", user_id=user_id, auto_start=True)
        connection.execute(
            """
            INSERT INTO awaited_sources (job_id, user_id, awaited_until, next_check_at)
            VALUES (%s, %s, now() + interval '1 h', now() - %s::interval)
            """,
            (job_id, user_id, due_for),
        )


@pytest.mark.parametrize("others", [BATCH + 1, 2 * DUE_WINDOW])
async def test_a_user_with_many_jobs_without_an_upload_delays_nobody(scene: Scene, others: int) -> None:
    never_uploaded(scene.connection, "many", others)
    job_id = await scene.uploaded("single")
    scene.connection.execute("UPDATE awaited_sources SET next_check_at = now() WHERE user_id = 'single'")
    assert await scene.controller.run_once() == BATCH
    assert scene.status(job_id) == "queued"


async def test_all_users_are_visited_in_turn(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, async_database: AsyncDatabase
) -> None:
    for number in range(5):
        never_uploaded(scene.connection, f"user-{number}", 1)
    monkeypatch.setattr(awaited, "VISITED_USERS", 2)
    visited, after = [], ""
    for _ in range(3):
        async with async_database.connection() as connection:
            found = await awaited.visit(connection, after=after)
        visited += found
        after = found[-1]
    assert visited == [f"user-{number}" for number in range(5)]


async def test_the_rate_of_checks_is_bounded(scene: Scene) -> None:
    never_uploaded(scene.connection, "many", 2 * BATCH)
    controller = AutoStarter(
        scene.database, scene.objects, scene.jobs, upload_grace=scene.settings.upload_grace, tick_seconds=0.2
    )
    began = asyncio.get_running_loop().time()
    for _ in range(2):
        assert await controller.run_once() == BATCH
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_an_unavailable_database_is_an_error_of_the_tick(scene: Scene) -> None:
    broken = AsyncDatabase("postgresql://nobody@127.0.0.1:1/none", max_connections=1, application="test")
    controller = AutoStarter(broken, scene.objects, scene.jobs, upload_grace=scene.settings.upload_grace)
    with pytest.raises(DependencyError):
        await controller.run_once()
