"""The chaos harness: plans are reproducible, and every invariant detects its violations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.chaos import invariants
from tests.chaos.evidence import Evidence, JobEvidence, StoredObject
from tests.chaos.managed_process import Outage
from tests.chaos.plan import DISTURBANCES, KILLS, Behavior, ClientAction, Picture, PlannedJob, make_plan
from tests.chaos.receivers import Delivery
from tests.chaos.recovery import Recovery, recoveries_of, saturated_spans, unavailable_spans
from tests.chaos.report import Part
from tests.chaos.scenarios.fairness import longest_gap
from tests.chaos.scenarios.observed import check_succeeded, claim_delays
from tests.chaos.traffic import JobRecord

JOB = "0190a000-0000-7000-8000-000000000001"
KEY = f"outputs/{JOB}/1/thumb.webp"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
OUTPUT = StoredObject(10, NOON)


def test_the_same_seed_gives_the_same_plan() -> None:
    assert make_plan(7, jobs=50, kills=20) == make_plan(7, jobs=50, kills=20)
    assert make_plan(7, jobs=50, kills=20) != make_plan(8, jobs=50, kills=20)


def test_a_plan_has_the_requested_jobs_and_kills_and_every_kind_of_fault() -> None:
    plan = make_plan(1, jobs=100, kills=40)
    kinds = [fault.kind for fault in plan.faults]
    assert len(plan.jobs) == 100
    assert sum(kind in KILLS for kind in kinds) == 40
    assert set(kinds) == {*KILLS, *DISTURBANCES}
    assert all(0 <= fault.at <= plan.seconds for fault in plan.faults)


def job(**changed: Any) -> JobEvidence:  # noqa: ANN401 - of any column
    """A job that succeeded."""
    row = {
        "job_id": JOB,
        "user_id": "u",
        "status": "succeeded",
        "attempts": 1,
        "max_attempts": 5,
        "run": 1,
        "erased_at": None,
        "awaits_deletion": False,
        "error": None,
        "webhook_url": "http://127.0.0.1/hook",
        "metadata": {"number": "0"},
    }
    kept = JobEvidence(
        row=row,
        attempts=[{"attempt": 1, "outcome": "succeeded", "ended_at": NOON, "started_at": NOON, "worker_id": "host:7"}],
        outputs=[{"step_id": "thumb", "object_key": KEY, "bytes": 10}],
        usage=[{"user_id": "u"}],
        events=[
            {"event_id": "e", "run": 1, "type": "job.completed", "status": "delivered", "attempts": 1, "job_id": JOB}
        ],
    )
    tables = {name: changed.pop(name) for name in ("attempts", "outputs", "usage", "events") if name in changed}
    return replace(kept, row={**row, **changed}, **tables)


def kept(changed: JobEvidence, *, orphan_usage: int = 0, objects: Mapping[str, StoredObject] | None = None) -> Evidence:
    return Evidence({JOB: changed}, orphan_usage, {KEY: OUTPUT} if objects is None else objects)


def record(picture: Picture = Picture.SMALL, **changed: Any) -> JobRecord:  # noqa: ANN401 - of any field
    planned = PlannedJob(
        number=0, at=0, picture=picture, action=ClientAction.WAIT, action_delay=0, behavior=Behavior.GOOD
    )
    return JobRecord(planned, **{"job_id": JOB, "started": True, **changed})


DELIVERED = Delivery(0, "e", JOB, "job.completed", 200)


def violations(
    evidence: Evidence, client_record: JobRecord, deliveries: Sequence[Delivery] = (DELIVERED,)
) -> dict[str, list[str]]:
    cases = invariants.cases([client_record], evidence)
    found = {
        "lost": invariants.lost(cases),
        "stuck": invariants.stuck(evidence),
        "promises": invariants.broken_promises(cases),
        "reasons": invariants.unexplained_ends(cases),
        "attempts": invariants.wrong_attempts(evidence),
        "outputs": invariants.missing_outputs(cases, evidence),
        "usage missing": invariants.missing_usage(evidence),
        "usage extra": invariants.extra_usage(evidence),
        "events": invariants.wrong_events(evidence),
        "deliveries": invariants.wrong_deliveries(evidence, deliveries),
        "creates": invariants.doubled_creates(evidence),
        "erased": invariants.objects_of_erased(evidence),
    }
    return {
        invariant: broken
        for invariant, broken in ((invariant, list(each)) for invariant, each in found.items())
        if broken
    }


def test_a_successful_job_violates_no_invariant() -> None:
    assert violations(kept(job()), record()) == {}


def erased(*, after: float, awaits_deletion: bool = False) -> JobEvidence:
    """A job that was erased so many seconds after its output was stored."""
    return job(erased_at=NOON + timedelta(seconds=after), awaits_deletion=awaits_deletion, events=[])


@pytest.mark.parametrize(
    "erasure",
    [
        pytest.param(erased(after=1, awaits_deletion=True), id="not deleted yet"),
        pytest.param(erased(after=0.9), id="stored in the same second, perhaps later"),
        pytest.param(erased(after=-60), id="stored later"),
    ],
)
def test_an_erased_job_may_have_objects_that_are_not_deleted_yet(erasure: JobEvidence) -> None:
    assert "erased" not in violations(kept(erasure), record(erase_sent=True))


LOST_ATTEMPT = {"attempt": 1, "outcome": "lost", "ended_at": NOON, "started_at": NOON, "worker_id": "host:7"}
EXHAUSTED = {"code": "attempts_exhausted"}
BROKEN: list[tuple[str, Callable[[], dict[str, list[str]]]]] = [
    ("lost", lambda: violations(Evidence({}, 0, {}), record())),
    ("stuck", lambda: violations(kept(job(status="queued")), record())),
    ("promises", lambda: violations(kept(job()), record(canceled=True))),
    ("promises", lambda: violations(kept(job()), record(retried=True, retry_sent=True))),
    ("promises", lambda: violations(kept(job()), record(erased=True, erase_sent=True))),
    ("promises", lambda: violations(kept(job()), record(failure="start: 500"))),
    ("reasons", lambda: violations(kept(job(status="failed", error={"code": "step_failed"})), record())),
    ("reasons", lambda: violations(kept(job(status="failed", error=EXHAUSTED, attempts=[LOST_ATTEMPT] * 4)), record())),
    ("reasons", lambda: violations(kept(job()), record(Picture.DAMAGED))),
    ("reasons", lambda: violations(kept(job(status="canceled")), record())),
    ("attempts", lambda: violations(kept(job(attempts=[{**LOST_ATTEMPT, "ended_at": None}])), record())),
    ("attempts", lambda: violations(kept(job(max_attempts=0)), record())),
    ("outputs", lambda: violations(kept(job(outputs=[])), record())),
    ("outputs", lambda: violations(kept(job(), objects={}), record())),
    ("outputs", lambda: violations(kept(job(), objects={KEY: StoredObject(9, NOON)}), record())),
    ("usage missing", lambda: violations(kept(job(usage=[])), record())),
    ("usage extra", lambda: violations(kept(job(usage=[{"user_id": "u"}] * 2)), record())),
    ("usage extra", lambda: violations(kept(job(status="failed", error=EXHAUSTED)), record())),
    ("usage extra", lambda: violations(kept(job(usage=[{"user_id": "mallory"}])), record())),
    ("usage extra", lambda: violations(kept(job(), orphan_usage=1), record())),
    ("events", lambda: violations(kept(job(events=[])), record())),
    ("events", lambda: violations(kept(job(status="failed", error=EXHAUSTED)), record())),
    ("events", lambda: violations(kept(job(run=2)), record())),
    ("events", lambda: violations(kept(job(erased_at=NOON)), record())),
    ("deliveries", lambda: violations(kept(job()), record(), deliveries=[])),
    (
        "deliveries",
        lambda: violations(kept(job()), record(), deliveries=[DELIVERED, replace(DELIVERED, job_id="another")]),
    ),
    ("deliveries", lambda: violations(kept(job()), record(), deliveries=[replace(DELIVERED, status=500)])),
    ("creates", lambda: violations(Evidence({JOB: job(), "another": job()}, 0, {KEY: OUTPUT}), record())),
    ("erased", lambda: violations(kept(erased(after=1)), record(erase_sent=True))),
]


@pytest.mark.parametrize(
    ("invariant", "found"), BROKEN, ids=[f"{invariant}-{n}" for n, (invariant, _) in enumerate(BROKEN)]
)
def test_an_invariant_detects_its_violation(invariant: str, found: Callable[[], dict[str, list[str]]]) -> None:
    assert invariant in found()


def test_a_job_may_exhaust_its_attempts_if_each_was_disturbed() -> None:
    exhausted = job(status="failed", error=EXHAUSTED, attempts=[LOST_ATTEMPT] * 5)
    assert "reasons" not in violations(kept(exhausted), record())


def test_a_recovery_starts_at_the_death_and_separates_unavoidable_time() -> None:
    death = NOON.timestamp()
    worker = [Outage("worker-0", 7, killed=True, began=death, ended=death + 1)]
    other = [Outage("worker-1", 8, killed=False, began=death - 10, ended=death - 9)]
    postgres = [Outage("postgres", 9, killed=True, began=death + 2, ended=death + 4)]
    first = {**LOST_ATTEMPT, "ended_at": NOON + timedelta(seconds=6)}
    second = {**LOST_ATTEMPT, "attempt": 2, "outcome": "succeeded", "started_at": NOON + timedelta(seconds=8)}
    evidence = kept(job(attempts=[first, second]))
    unavailable = unavailable_spans(needed=[postgres], replicas=[[worker, other]])

    assert recoveries_of(worker, evidence, unavailable, clock_ahead=0) == [Recovery(JOB, 8.0, 2.0)]


def test_workers_are_saturated_when_each_running_worker_has_as_many_jobs_as_threads() -> None:
    began = NOON.timestamp()
    busy = {**LOST_ATTEMPT, "outcome": "succeeded", "ended_at": NOON + timedelta(seconds=9)}
    later = {**busy, "started_at": NOON + timedelta(seconds=4)}
    evidence = kept(job(attempts=[busy, later]))
    other = [Outage("worker-1", 8, killed=True, began=began, ended=began + 2)]  # and 3 s to start

    assert saturated_spans(other, evidence, threads=1, workers=2, clock_ahead=0) == [(began, began + 9)]
    assert saturated_spans([], evidence, threads=1, workers=2, clock_ahead=0) == [(began + 4, began + 9)]
    assert saturated_spans([], evidence, threads=2, workers=2, clock_ahead=0) == []


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({}, set()),
        ({"status": "failed", "usage": []}, {"jobs that did not succeed"}),
        ({"usage": []}, {"jobs that did not succeed"}),
        ({"attempts_used": 2}, {"jobs with attempts used up"}),
    ],
)
def test_a_scenario_detects_failed_jobs_and_counted_attempts(changed: dict[str, Any], broken: set[str]) -> None:
    part, used = Part("scenario"), changed.pop("attempts_used", 1)
    succeeded = job(**changed)
    check_succeeded(part, {JOB: replace(succeeded, row={**succeeded.row, "attempts": used})})
    assert {what for what, found in part.invariants.items() if found} == broken
    assert part.is_clean == (not broken)


def test_a_claim_delay_ends_with_the_first_attempt() -> None:
    retried = job(
        attempts=[{**LOST_ATTEMPT, "started_at": NOON + timedelta(seconds=seconds)} for seconds in (3, 9)],
        queued_at=NOON,
    )
    assert claim_delays({JOB: retried}) == {JOB: 3.0}


def test_a_gap_between_claims_of_a_user_excludes_time_in_which_nobody_claims() -> None:
    others = [(second / 4, "other") for second in range(40)]
    claims = sorted([*others, (1.0, "user"), (7.0, "user")])
    without_workers = [(at, user) for at, user in claims if not 3 < at < 5]
    assert longest_gap(claims, "user") == 6.0
    assert longest_gap(without_workers, "user") == 4.0
