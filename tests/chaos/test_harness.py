"""The harness itself: a seed makes one plan, and every law is broken by what it forbids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.chaos import audit
from tests.chaos.actor import Outage
from tests.chaos.evidence import Evidence, JobEvidence
from tests.chaos.plan import DISTURBANCES, KILLS, Fate, Manner, Picture, PlannedJob, make_plan
from tests.chaos.receiver import Heard
from tests.chaos.recovery import Recovery, full_spans, helpless_spans, recoveries_of
from tests.chaos.traffic import Story

JOB = "0190a000-0000-7000-8000-000000000001"
KEY = f"outputs/{JOB}/1/thumb.webp"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_a_seed_makes_one_plan() -> None:
    assert make_plan(7, jobs=50, kills=20) == make_plan(7, jobs=50, kills=20)
    assert make_plan(7, jobs=50, kills=20) != make_plan(8, jobs=50, kills=20)


def test_a_plan_has_the_jobs_and_kills_asked_for_and_every_kind_of_them() -> None:
    plan = make_plan(1, jobs=100, kills=40)
    kinds = [fault.kind for fault in plan.faults]
    assert len(plan.jobs) == 100
    assert sum(kind in KILLS for kind in kinds) == 40
    assert set(kinds) == {*KILLS, *DISTURBANCES}
    assert all(0 <= fault.at <= plan.seconds for fault in plan.faults)


def job(**changed: Any) -> JobEvidence:  # noqa: ANN401 - of any column
    """A job that went well."""
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
        events=[{"event_id": "e", "run": 1, "type": "job.completed", "status": "delivered", "tries": 1, "job_id": JOB}],
    )
    tables = {name: changed.pop(name) for name in ("attempts", "outputs", "usage", "events") if name in changed}
    return replace(kept, row={**row, **changed}, **tables)


def kept(changed: JobEvidence, *, stray_usage: int = 0, objects: Mapping[str, int] | None = None) -> Evidence:
    return Evidence({JOB: changed}, stray_usage, {KEY: 10} if objects is None else objects)


def story(picture: Picture = Picture.SMALL, **changed: Any) -> Story:  # noqa: ANN401 - of any field
    planned = PlannedJob(number=0, at=0, picture=picture, fate=Fate.WAIT, fate_after=0, manner=Manner.GOOD)
    return Story(planned, **{"job_id": JOB, "started": True, **changed})


TAKEN = Heard(0, "e", JOB, "job.completed", 200)


def sentences(evidence: Evidence, told: Story, heard: Sequence[Heard] = (TAKEN,)) -> dict[str, list[str]]:
    cases = audit.cases([told], evidence)
    found = {
        "lost": audit.lost(cases),
        "stuck": audit.stuck(evidence),
        "promises": audit.broken_promises(cases),
        "reasons": audit.unexplained_ends(cases),
        "attempts": audit.wrong_attempts(evidence),
        "outputs": audit.missing_outputs(cases, evidence),
        "usage missing": audit.missing_usage(evidence),
        "usage extra": audit.extra_usage(evidence),
        "events": audit.wrong_events(evidence),
        "deliveries": audit.wrong_deliveries(evidence, heard),
        "creates": audit.doubled_creates(evidence),
        "erased": audit.objects_of_erased(evidence),
    }
    return {law: broken for law, broken in ((law, list(each)) for law, each in found.items()) if broken}


def test_a_job_that_went_well_breaks_no_law() -> None:
    assert sentences(kept(job()), story()) == {}


LOST_ATTEMPT = {"attempt": 1, "outcome": "lost", "ended_at": NOON, "started_at": NOON, "worker_id": "host:7"}
EXHAUSTED = {"code": "attempts_exhausted"}
BROKEN: list[tuple[str, Callable[[], dict[str, list[str]]]]] = [
    ("lost", lambda: sentences(Evidence({}, 0, {}), story())),
    ("stuck", lambda: sentences(kept(job(status="queued")), story())),
    ("promises", lambda: sentences(kept(job()), story(canceled=True))),
    ("promises", lambda: sentences(kept(job()), story(retried=True, retry_sent=True))),
    ("promises", lambda: sentences(kept(job()), story(erased=True, erase_sent=True))),
    ("promises", lambda: sentences(kept(job()), story(trouble="start: 500"))),
    ("reasons", lambda: sentences(kept(job(status="failed", error={"code": "step_failed"})), story())),
    ("reasons", lambda: sentences(kept(job(status="failed", error=EXHAUSTED, attempts=[LOST_ATTEMPT] * 4)), story())),
    ("reasons", lambda: sentences(kept(job()), story(Picture.DAMAGED))),
    ("reasons", lambda: sentences(kept(job(status="canceled")), story())),
    ("attempts", lambda: sentences(kept(job(attempts=[{**LOST_ATTEMPT, "ended_at": None}])), story())),
    ("attempts", lambda: sentences(kept(job(max_attempts=0)), story())),
    ("outputs", lambda: sentences(kept(job(outputs=[])), story())),
    ("outputs", lambda: sentences(kept(job(), objects={}), story())),
    ("outputs", lambda: sentences(kept(job(), objects={KEY: 9}), story())),
    ("usage missing", lambda: sentences(kept(job(usage=[])), story())),
    ("usage extra", lambda: sentences(kept(job(usage=[{"user_id": "u"}] * 2)), story())),
    ("usage extra", lambda: sentences(kept(job(status="failed", error=EXHAUSTED)), story())),
    ("usage extra", lambda: sentences(kept(job(usage=[{"user_id": "mallory"}])), story())),
    ("usage extra", lambda: sentences(kept(job(), stray_usage=1), story())),
    ("events", lambda: sentences(kept(job(events=[])), story())),
    ("events", lambda: sentences(kept(job(status="failed", error=EXHAUSTED)), story())),
    ("events", lambda: sentences(kept(job(run=2)), story())),
    ("events", lambda: sentences(kept(job(erased_at=NOON)), story())),
    ("deliveries", lambda: sentences(kept(job()), story(), heard=[])),
    ("deliveries", lambda: sentences(kept(job()), story(), heard=[TAKEN, replace(TAKEN, job_id="another")])),
    ("deliveries", lambda: sentences(kept(job()), story(), heard=[replace(TAKEN, status=500)])),
    ("creates", lambda: sentences(Evidence({JOB: job(), "another": job()}, 0, {KEY: 10}), story())),
    ("erased", lambda: sentences(kept(job(erased_at=NOON, events=[])), story(erase_sent=True))),
]


@pytest.mark.parametrize(("law", "found"), BROKEN, ids=[f"{law}-{n}" for n, (law, _) in enumerate(BROKEN)])
def test_what_a_law_forbids_breaks_it(law: str, found: Callable[[], dict[str, list[str]]]) -> None:
    assert law in found()


def test_a_job_may_run_out_of_attempts_where_each_was_disturbed() -> None:
    exhausted = job(status="failed", error=EXHAUSTED, attempts=[LOST_ATTEMPT] * 5)
    assert "reasons" not in sentences(kept(exhausted), story())


def test_a_recovery_counts_from_the_death_and_tells_what_nobody_could_help() -> None:
    death = NOON.timestamp()
    worker = [Outage("worker-0", 7, killed=True, began=death, ended=death + 1)]
    other = [Outage("worker-1", 8, killed=False, began=death - 10, ended=death - 9)]
    postgres = [Outage("postgres", 9, killed=True, began=death + 2, ended=death + 4)]
    first = {**LOST_ATTEMPT, "ended_at": NOON + timedelta(seconds=6)}
    second = {**LOST_ATTEMPT, "attempt": 2, "outcome": "succeeded", "started_at": NOON + timedelta(seconds=8)}
    evidence = kept(job(attempts=[first, second]))
    helpless = helpless_spans(needed=[postgres], twins=[[worker, other]])

    assert recoveries_of(worker, evidence, helpless, clock_ahead=0) == [Recovery(JOB, 8.0, 2.0)]


def test_all_hands_are_full_when_each_living_worker_has_as_many_jobs_as_threads() -> None:
    began = NOON.timestamp()
    busy = {**LOST_ATTEMPT, "outcome": "succeeded", "ended_at": NOON + timedelta(seconds=9)}
    later = {**busy, "started_at": NOON + timedelta(seconds=4)}
    evidence = kept(job(attempts=[busy, later]))
    other = [Outage("worker-1", 8, killed=True, began=began, ended=began + 2)]  # and 3 s to start

    assert full_spans(other, evidence, hands=1, workers=2, clock_ahead=0) == [(began, began + 9)]
    assert full_spans([], evidence, hands=1, workers=2, clock_ahead=0) == [(began + 4, began + 9)]
    assert full_spans([], evidence, hands=2, workers=2, clock_ahead=0) == []
