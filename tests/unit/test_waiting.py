"""Limits of time: strict on a fast machine, proportional on a slow one."""

from __future__ import annotations

import itertools
import time

import pytest
from tests.support import waiting
from tests.support.waiting import PROBE_SECONDS, assert_within, eventually


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine as fast as the limits assume."""
    monkeypatch.setattr(waiting, "_probe", lambda: PROBE_SECONDS)
    return monkeypatch


def test_a_condition_is_polled_until_it_holds() -> None:
    numbers = itertools.count()
    assert eventually(lambda: next(numbers) > 3)


@pytest.mark.usefixtures("probed")
def test_a_condition_that_never_holds_fails_at_the_limit() -> None:
    began = time.monotonic()
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: False, 0.1)
    assert time.monotonic() - began >= 0.1


def test_a_machine_ten_times_slower_has_ten_times_as_long(probed: pytest.MonkeyPatch) -> None:
    probed.setattr(waiting, "_probe", lambda: 10 * PROBE_SECONDS)
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 0.1, 0.05)
    assert_within(1, began - 9)


def test_a_very_slow_machine_does_not_wait_beyond_the_maximum(probed: pytest.MonkeyPatch) -> None:
    probed.setattr(waiting, "_probe", lambda: 1000 * PROBE_SECONDS)
    probed.setattr(waiting, "MAX_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: False, 0.1)
    assert time.monotonic() - began < 2


def test_the_maximum_does_not_shorten_a_longer_limit(probed: pytest.MonkeyPatch) -> None:
    probed.setattr(waiting, "MAX_SECONDS", 0.05)
    began = time.monotonic()
    assert eventually(lambda: time.monotonic() - began > 0.1, 0.2)


def test_a_machine_that_is_faster_keeps_the_limit(probed: pytest.MonkeyPatch) -> None:
    probed.setattr(waiting, "_probe", lambda: PROBE_SECONDS / 10)
    assert_within(1, time.monotonic() - 0.5)
    with pytest.raises(AssertionError, match="instead of 1 s"):
        assert_within(1, time.monotonic() - 1.5)


def test_the_probe_takes_time() -> None:
    assert waiting._probe() > 0.01
