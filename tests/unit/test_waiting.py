"""Limits of time: strict on a fast machine, proportional on a slow one."""

from __future__ import annotations

import itertools
import time

import pytest
from tests.support import waiting
from tests.support.waiting import PROBE_SECONDS, assert_within, eventually


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine as fast as the limits assume, which never pauses."""
    monkeypatch.setattr(waiting, "_probe", lambda *_: PROBE_SECONDS)
    monkeypatch.setattr(waiting, "PAUSE_SECONDS", 0.0)
    return monkeypatch


def test_a_condition_is_polled_until_it_holds() -> None:
    numbers = itertools.count()
    assert eventually(lambda: next(numbers) > 3)


def test_a_condition_that_holds_after_a_pause_is_met(probed: pytest.MonkeyPatch) -> None:
    """The process was paused after it had found that the condition does not hold yet."""
    answers = iter((False, True))
    probed.setattr(waiting, "PAUSE_SECONDS", -1.0)
    assert eventually(lambda: next(answers), 0.0)


def test_a_pause_of_the_machine_is_added_to_a_limit(probed: pytest.MonkeyPatch) -> None:
    probed.setattr(waiting, "PAUSE_SECONDS", 5.0)
    assert_within(1, time.monotonic() - 5.5)
    with pytest.raises(AssertionError, match="instead of 1 s"):
        assert_within(1, time.monotonic() - 6.5)


@pytest.mark.usefixtures("probed")
def test_a_condition_that_never_holds_fails_at_the_limit() -> None:
    began = time.monotonic()
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: False, 0.1)
    assert time.monotonic() - began >= 0.1


def test_a_machine_ten_times_slower_has_ten_times_as_long(probed: pytest.MonkeyPatch) -> None:
    probed.setattr(waiting, "_probe", lambda *_: 10 * PROBE_SECONDS)
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 0.1, 0.05)
    assert_within(1, time.monotonic() - 9)


def test_a_very_slow_machine_does_not_wait_beyond_the_maximum(probed: pytest.MonkeyPatch) -> None:
    probed.setattr(waiting, "_probe", lambda *_: 1000 * PROBE_SECONDS)
    probed.setattr(waiting, "MAX_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: False, 0.1)
    assert time.monotonic() - began < 60, "instead of 100 s"


def test_the_maximum_does_not_shorten_a_longer_limit(probed: pytest.MonkeyPatch) -> None:
    probed.setattr(waiting, "MAX_SECONDS", 0.05)
    began = time.monotonic()
    assert eventually(lambda: time.monotonic() - began > 0.1, 0.2)


def test_a_machine_that_is_faster_keeps_the_limit(probed: pytest.MonkeyPatch) -> None:
    probed.setattr(waiting, "_probe", lambda *_: PROBE_SECONDS / 10)
    assert_within(60, time.monotonic() - 30)
    with pytest.raises(AssertionError, match="instead of 1 s"):
        assert_within(1, time.monotonic() - 1.5)


def test_processor_time_is_limited_in_proportion_to_the_speed_of_a_core(probed: pytest.MonkeyPatch) -> None:
    waiting.assert_cpu_within(60, time.process_time())
    with pytest.raises(AssertionError, match="of CPU instead of 1 s"):
        waiting.assert_cpu_within(1, time.process_time() - 5)
    probed.setattr(waiting, "_probe", lambda *_: 10 * PROBE_SECONDS)
    waiting.assert_cpu_within(1, time.process_time() - 5)


def test_the_probe_takes_time() -> None:
    assert waiting._probe() > 0.01
