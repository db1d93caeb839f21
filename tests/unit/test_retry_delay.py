"""Retry delay: grows fourfold per attempt up to a maximum, half of it random."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pixelflow.dataplane.worker.retry import MAX_RETRY_SECONDS, retry_seconds
from pixelflow.settings import Settings

ATTEMPTS = st.integers(min_value=1, max_value=100)
"""The range of ``PIXELFLOW_MAX_ATTEMPTS``."""
JITTER = st.floats(min_value=0, max_value=1)


@given(ATTEMPTS, JITTER)
def test_the_delay_is_between_half_and_all_of_the_full_delay(attempts: int, jitter: float) -> None:
    full = retry_seconds(attempts, 1)
    assert full / 2 <= retry_seconds(attempts, jitter) <= full


@given(ATTEMPTS, JITTER)
def test_the_delay_never_exceeds_the_maximum(attempts: int, jitter: float) -> None:
    assert 0 < retry_seconds(attempts, jitter) <= MAX_RETRY_SECONDS


@given(ATTEMPTS, JITTER)
def test_the_delay_never_shrinks_with_more_attempts(attempts: int, jitter: float) -> None:
    assert retry_seconds(attempts, jitter) <= retry_seconds(attempts + 1, jitter)


@given(ATTEMPTS, JITTER, JITTER)
def test_the_delay_never_shrinks_with_more_jitter(attempts: int, one: float, other: float) -> None:
    assert retry_seconds(attempts, min(one, other)) <= retry_seconds(attempts, max(one, other))


def test_full_delays_grow_fourfold_up_to_the_maximum() -> None:
    assert [retry_seconds(attempts, 1) for attempts in range(1, 8)] == [1, 4, 16, 64, 256, 300, 300]


def test_the_delays_of_the_default_number_of_attempts_outlast_a_restart() -> None:
    delays = [retry_seconds(attempts, 0) for attempts in range(1, Settings.model_fields["max_attempts"].default)]
    assert sum(delays) >= 40
