"""A server of named buckets that does not answer takes a bounded part of a worker's places."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.support.waiting import eventually

from pixelflow.dataplane.worker.bucket_places import PATIENCE_SECONDS, BucketPlaces
from pixelflow.errors import SourcePostponedError

REFUSAL = SourcePostponedError("later")


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def places(clock: Clock) -> BucketPlaces:
    return BucketPlaces(8, {"silent"}, clock=clock)


@pytest.fixture
def held(places: BucketPlaces) -> Iterator[ExitStack]:
    """The three places that one server may have."""
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(places.place("silent", REFUSAL))
        yield stack


@pytest.mark.usefixtures("held")
def test_a_silent_server_leaves_places_to_others_and_half_of_the_worker(places: BucketPlaces, clock: Clock) -> None:
    places.check("silent", REFUSAL)
    clock.now += PATIENCE_SECONDS
    with pytest.raises(SourcePostponedError):
        places.check("silent", REFUSAL)
    with pytest.raises(SourcePostponedError), places.place("silent", REFUSAL):
        pass
    with places.place("other", REFUSAL):
        clock.now += PATIENCE_SECONDS
        with pytest.raises(SourcePostponedError):
            places.check("third", REFUSAL)
    places.check("third", REFUSAL)


def test_a_job_waits_for_a_place_at_a_busy_server(places: BucketPlaces, held: ExitStack) -> None:
    taken = threading.Event()

    def take() -> None:
        with places.place("silent", REFUSAL):
            taken.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    eventually(lambda: places._changed._waiters)  # type: ignore[attr-defined]  # of the standard library
    assert not taken.is_set()
    held.close()
    assert taken.wait(5)
    thread.join(5)


def test_a_small_worker_has_one_place(clock: Clock) -> None:
    places = BucketPlaces(1, {"a", "b"}, clock=clock)
    with places.place("a", REFUSAL):
        clock.now += PATIENCE_SECONDS
        with pytest.raises(SourcePostponedError):
            places.check("b", REFUSAL)
    places.check("b", REFUSAL)


@pytest.mark.parametrize("names", [["a", "b", "c"], ["a", "b", "c", "d"]], ids=len)
def test_servers_that_do_not_answer_leave_a_place_to_each_other_server(names: list[str], clock: Clock) -> None:
    places = BucketPlaces(8, names, clock=clock)
    *silent, healthy = names
    with ExitStack() as stack:
        for server in 4 * silent:
            try:
                places.check(server, REFUSAL)
                clock.now += PATIENCE_SECONDS  # nothing is given back
                stack.enter_context(places.place(server, REFUSAL))
            except SourcePostponedError:
                pass
        assert all(places._held[server] for server in silent)
        for _ in range(3):
            with places.place(healthy, REFUSAL):
                clock.now += PATIENCE_SECONDS
                for server in silent:
                    with pytest.raises(SourcePostponedError):
                        places.check(server, REFUSAL)


def test_more_servers_than_places_leave_half_of_the_places_to_those_without_one(clock: Clock) -> None:
    places = BucketPlaces(8, [str(number) for number in range(20)], clock=clock)
    with places.place("0", REFUSAL), places.place("0", REFUSAL):
        clock.now += PATIENCE_SECONDS
        with pytest.raises(SourcePostponedError):
            places.check("0", REFUSAL)
        with places.place("1", REFUSAL), places.place("2", REFUSAL):
            clock.now += PATIENCE_SECONDS
            with pytest.raises(SourcePostponedError):
                places.check("3", REFUSAL)
