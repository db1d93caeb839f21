"""IDs are UUIDs of version 7, in order of their creation."""

from __future__ import annotations

import time
from uuid import RFC_4122

from pixelflow.adapters.ids import new_id


def test_version_and_variant_are_those_of_rfc_9562() -> None:
    made = [new_id() for _ in range(1000)]
    assert {(each.version, each.variant) for each in made} == {(7, RFC_4122)}


def test_an_id_begins_with_the_millisecond_of_its_making() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000
    assert before <= made.int >> 80 <= after


def test_ids_of_later_milliseconds_sort_after_earlier_ones() -> None:
    made = [new_id()]
    while len(made) < 5:
        if (another := new_id()).int >> 80 != made[-1].int >> 80:
            made.append(another)
    assert made == sorted(made)
    assert [str(each) for each in made] == sorted(str(each) for each in made)


def test_the_random_bits_differ_each_time() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000
