"""How long a failed attempt waits: four times as long each time, bounded, half of it by chance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pixelflow.dataplane.worker.retry import MAX_RETRY_SECONDS, retry_seconds
from pixelflow.settings import Settings

ATTEMPTS = st.integers(min_value=1, max_value=100)
"""As many as ``PIXELFLOW_MAX_ATTEMPTS`` allows."""
CHANCE = st.floats(min_value=0, max_value=1)


@given(ATTEMPTS, CHANCE)
def test_the_wait_is_between_half_of_the_full_one_and_the_full_one(attempts: int, chance: float) -> None:
    full = retry_seconds(attempts, 1)
    assert full / 2 <= retry_seconds(attempts, chance) <= full


@given(ATTEMPTS, CHANCE)
def test_no_wait_is_longer_than_the_longest(attempts: int, chance: float) -> None:
    assert 0 < retry_seconds(attempts, chance) <= MAX_RETRY_SECONDS


@given(ATTEMPTS, CHANCE)
def test_more_attempts_never_wait_less_with_the_same_luck(attempts: int, chance: float) -> None:
    assert retry_seconds(attempts, chance) <= retry_seconds(attempts + 1, chance)


@given(ATTEMPTS, CHANCE, CHANCE)
def test_more_chance_never_waits_less(attempts: int, one: float, other: float) -> None:
    assert retry_seconds(attempts, min(one, other)) <= retry_seconds(attempts, max(one, other))


def test_the_full_waits_grow_fourfold_until_the_longest() -> None:
    assert [retry_seconds(attempts, 1) for attempts in range(1, 8)] == [1, 4, 16, 64, 256, 300, 300]


def test_the_waits_of_a_job_with_the_attempts_of_the_defaults_outlast_a_restart() -> None:
    waits = [retry_seconds(attempts, 0) for attempts in range(1, Settings.model_fields["max_attempts"].default)]
    assert sum(waits) >= 40
