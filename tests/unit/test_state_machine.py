"""The table of a job's transitions, and its invariants."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelflow.contracts.jobs.states import FINISHED, TRANSITIONS, JobStatus

S = JobStatus


def reachable(start: JobStatus) -> set[JobStatus]:
    found: set[JobStatus] = set()
    waiting = [start]
    while waiting:
        status = waiting.pop()
        waiting += TRANSITIONS[status] - found
        found |= TRANSITIONS[status]
    return found


def test_the_transitions_are_exactly_these() -> None:
    assert {(before.value, after.value) for before, afters in TRANSITIONS.items() for after in afters} == {
        ("created", "queued"),
        ("created", "failed"),
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


def test_every_status_can_be_reached_from_created() -> None:
    assert {*reachable(S.CREATED), S.CREATED} == set(S)


def test_no_status_returns_to_created() -> None:
    assert all(S.CREATED not in afters for afters in TRANSITIONS.values())


@pytest.mark.parametrize("status", S)
def test_succeeded_can_be_reached_from_every_status(status: JobStatus) -> None:
    assert status is S.SUCCEEDED or S.SUCCEEDED in reachable(status)


def test_succeeded_is_final() -> None:
    assert TRANSITIONS[S.SUCCEEDED] == frozenset()


@pytest.mark.parametrize("status", sorted(FINISHED))
def test_a_finished_job_can_only_be_queued_again(status: JobStatus) -> None:
    assert TRANSITIONS[status] <= {S.QUEUED}


@given(st.lists(st.sampled_from(list(S)), max_size=12))
def test_every_path_to_processing_leads_through_queued(wishes: list[JobStatus]) -> None:
    walk = [S.CREATED]
    for wish in wishes:
        if wish in TRANSITIONS[walk[-1]]:
            walk.append(wish)
    assert all(before is S.QUEUED for before, after in itertools.pairwise(walk) if after is S.PROCESSING)
