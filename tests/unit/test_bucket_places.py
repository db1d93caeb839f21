"""A server of named buckets that does not answer takes a bounded part of a worker's places."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.support.waiting import DEADLINE_SECONDS, eventually

from pixelflow.dataplane.worker.bucket_places import IN_USE_SECONDS, PATIENCE_SECONDS, BucketPlaces
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
    return BucketPlaces(8, clock=clock)


@pytest.fixture
def held(places: BucketPlaces) -> Iterator[ExitStack]:
    """The three places that one server may have."""
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(places.place("silent", REFUSAL))
        yield stack


def _use(places: BucketPlaces, *servers: str) -> None:
    """Let a job ask for a place of each server."""
    for server in servers:
        places.check(server, REFUSAL)


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
    assert taken.wait(DEADLINE_SECONDS)
    thread.join(DEADLINE_SECONDS)


def test_a_small_worker_has_one_place(clock: Clock) -> None:
    places = BucketPlaces(1, clock=clock)
    with places.place("a", REFUSAL):
        clock.now += PATIENCE_SECONDS
        with pytest.raises(SourcePostponedError):
            places.check("b", REFUSAL)
    places.check("b", REFUSAL)


@pytest.mark.parametrize("names", [["a", "b", "c"], ["a", "b", "c", "d"]], ids=len)
def test_servers_that_do_not_answer_leave_a_place_to_each_other_server(names: list[str], clock: Clock) -> None:
    places = BucketPlaces(8, clock=clock)
    *silent, healthy = names
    _use(places, *names)
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
    places = BucketPlaces(8, clock=clock)
    _use(places, *(str(number) for number in range(20)))
    with places.place("0", REFUSAL), places.place("0", REFUSAL):
        clock.now += PATIENCE_SECONDS
        with pytest.raises(SourcePostponedError):
            places.check("0", REFUSAL)
        with places.place("1", REFUSAL), places.place("2", REFUSAL):
            clock.now += PATIENCE_SECONDS
            with pytest.raises(SourcePostponedError):
                places.check("3", REFUSAL)


@pytest.mark.parametrize(("number", "names", "kept", "most"), [(8, "abc", 2, 3), (16, "abcde", 4, 6)])
def test_a_server_that_is_not_in_use_keeps_no_place_from_the_others(
    number: int, names: str, kept: int, most: int, clock: Clock
) -> None:
    places = BucketPlaces(number, clock=clock)
    _use(places, *names)

    def fill() -> None:
        while not places._is_full("a"):
            stack.enter_context(places.place("a", REFUSAL))

    with ExitStack() as stack:
        clock.now += IN_USE_SECONDS - 0.1
        fill()
        assert places._held["a"] == kept
        clock.now += 0.1
        fill()
        assert places._held["a"] == most


def test_a_server_waits_for_a_reserved_place_while_another_server_is_fast(clock: Clock) -> None:
    places = BucketPlaces(8, clock=clock)
    _use(places, "a", "b", "c")
    with places.place("a", REFUSAL), places.place("b", REFUSAL):
        clock.now += 2 * PATIENCE_SECONDS  # the transfer of "a" takes long
        with places.place("b", REFUSAL):
            assert places._is_full("a"), "a place is kept for c"
            assert places._left(places._latest("a")) == PATIENCE_SECONDS
        clock.now += PATIENCE_SECONDS
        with places.place("b", REFUSAL):
            clock.now += PATIENCE_SECONDS
            with pytest.raises(SourcePostponedError), places.place("a", REFUSAL):
                pass


def test_no_job_is_processed_for_a_silent_server_while_others_are_fast(clock: Clock) -> None:
    places = BucketPlaces(8, clock=clock)
    _use(places, "silent", "b", "c")
    with places.place("silent", REFUSAL), places.place("silent", REFUSAL):
        places.check("silent", REFUSAL)
        clock.now += PATIENCE_SECONDS
        with places.place("b", REFUSAL):
            assert places._is_full("silent")
            with pytest.raises(SourcePostponedError):
                places.check("silent", REFUSAL)


def test_a_server_whose_transfer_took_long_is_in_use_for_a_while_after_it(clock: Clock) -> None:
    places = BucketPlaces(8, clock=clock)
    with places.place("a", REFUSAL), places.place("c", REFUSAL):
        clock.now += 2 * IN_USE_SECONDS
    with places.place("b", REFUSAL), places.place("b", REFUSAL):
        assert places._is_full("b"), "two are kept"
        clock.now += IN_USE_SECONDS
        assert not places._is_full("b")


def test_a_server_whose_job_was_refused_a_place_is_in_use(clock: Clock) -> None:
    places = BucketPlaces(8, clock=clock)
    with places.place("b", REFUSAL), places.place("b", REFUSAL):
        with places.place("b", REFUSAL), places.place("c", REFUSAL):
            clock.now += PATIENCE_SECONDS
            with pytest.raises(SourcePostponedError), places.place("a", REFUSAL):
                pass
        assert places._is_full("b"), "one is kept for c, and one for a"
