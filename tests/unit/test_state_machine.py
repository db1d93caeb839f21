"""The state machine of a job: one table, and what must hold of it whatever is added."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelflow.contracts.jobs import FINISHED, TRANSITIONS, JobStatus

S = JobStatus


def reachable(start: JobStatus) -> set[JobStatus]:
    found: set[JobStatus] = set()
    waiting = [start]
    while waiting:
        status = waiting.pop()
        waiting += TRANSITIONS[status] - found
        found |= TRANSITIONS[status]
    return found


def test_the_moves_are_these_and_no_others() -> None:
    assert {(before.value, after.value) for before, afters in TRANSITIONS.items() for after in afters} == {
        ("created", "queued"),
        ("created", "canceled"),
        ("queued", "processing"),
        ("queued", "canceled"),
        ("processing", "succeeded"),
        ("processing", "failed"),
        ("processing", "queued"),
        ("processing", "canceled"),
        ("failed", "queued"),
        ("canceled", "queued"),
    }


@pytest.mark.parametrize("status", S)
def test_every_status_has_a_row_in_the_table(status: JobStatus) -> None:
    assert status in TRANSITIONS


def test_every_status_can_be_reached_from_the_first() -> None:
    assert {*reachable(S.CREATED), S.CREATED} == set(S)


def test_nothing_returns_to_the_first() -> None:
    assert all(S.CREATED not in afters for afters in TRANSITIONS.values())


@pytest.mark.parametrize("status", S)
def test_success_can_be_reached_from_wherever_a_job_stands(status: JobStatus) -> None:
    assert status is S.SUCCEEDED or S.SUCCEEDED in reachable(status)


def test_success_is_for_good() -> None:
    assert TRANSITIONS[S.SUCCEEDED] == frozenset()


@pytest.mark.parametrize("status", sorted(FINISHED))
def test_what_is_over_moves_only_by_being_queued_anew(status: JobStatus) -> None:
    assert TRANSITIONS[status] <= {S.QUEUED}


@given(st.lists(st.sampled_from(list(S)), max_size=12))
def test_no_walk_leads_to_processing_but_through_the_queue(wishes: list[JobStatus]) -> None:
    walk = [S.CREATED]
    for wish in wishes:
        if wish in TRANSITIONS[walk[-1]]:
            walk.append(wish)
    assert all(before is S.QUEUED for before, after in itertools.pairwise(walk) if after is S.PROCESSING)
