"""The circuit breaker: opens after failures, allows trials with growing delays, and closes after a success."""

from __future__ import annotations

import pytest

from pixelflow.dataplane.worker.breaker import FAILURES, FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS, Breaker, State


class Clock:
    """A monotonic clock that advances only by assignment."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock=clock, jitter=lambda: 1.0)


def _state(breaker: Breaker) -> State:
    """A function, as mypy would take the attribute for constant."""
    return breaker.state


def _fail(breaker: Breaker, times: int = FAILURES) -> None:
    for _ in range(times):
        breaker.record_failure()


def test_it_opens_after_consecutive_failures(breaker: Breaker) -> None:
    _fail(breaker, FAILURES - 1)
    assert _state(breaker) is State.CLOSED
    breaker.record_success()
    _fail(breaker, FAILURES - 1)
    assert _state(breaker) is State.CLOSED, "the success between them reset the count"
    breaker.record_failure()
    assert _state(breaker) is State.OPEN


def test_a_trial_is_due_after_a_delay(breaker: Breaker, clock: Clock) -> None:
    _fail(breaker)
    assert not breaker.trial_due
    clock.now += FIRST_DELAY_SECONDS
    assert breaker.trial_due


def test_failures_of_attempts_that_began_before_do_not_delay_the_trial(breaker: Breaker, clock: Clock) -> None:
    _fail(breaker, 10 * FAILURES)
    clock.now += FIRST_DELAY_SECONDS
    assert breaker.trial_due


def test_a_success_of_an_attempt_that_began_before_does_not_close_it(breaker: Breaker) -> None:
    _fail(breaker)
    breaker.record_success()
    assert _state(breaker) is State.OPEN


def test_a_successful_check_allows_a_trial_and_its_success_closes_the_breaker(breaker: Breaker, clock: Clock) -> None:
    _fail(breaker)
    clock.now += FIRST_DELAY_SECONDS
    breaker.allow_trial()
    assert _state(breaker) is State.TRIAL
    breaker.record_success()
    assert _state(breaker) is State.CLOSED


def test_one_failure_of_a_trial_opens_it_again(breaker: Breaker, clock: Clock) -> None:
    _fail(breaker)
    clock.now += FIRST_DELAY_SECONDS
    breaker.allow_trial()
    breaker.record_failure()
    assert _state(breaker) is State.OPEN
    assert not breaker.trial_due


def test_delays_grow_to_a_limit_and_start_over_after_a_success(breaker: Breaker, clock: Clock) -> None:
    _fail(breaker)
    delays = []
    for _ in range(8):
        began = clock.now
        while not breaker.trial_due:
            clock.now += 0.5
        delays.append(clock.now - began)
        breaker.record_failure()
    assert delays == [1, 2, 4, 8, 16, MAX_DELAY_SECONDS, MAX_DELAY_SECONDS, MAX_DELAY_SECONDS]
    clock.now += MAX_DELAY_SECONDS
    breaker.allow_trial()
    breaker.record_success()
    _fail(breaker)
    clock.now += FIRST_DELAY_SECONDS
    assert breaker.trial_due


def test_jitter_shortens_a_delay_by_half_at_most(clock: Clock) -> None:
    breaker = Breaker(clock=clock, jitter=lambda: 0.0)
    _fail(breaker)
    clock.now += FIRST_DELAY_SECONDS / 2
    assert breaker.trial_due
