"""The picture of the states shows exactly the transitions of the code."""

from __future__ import annotations

from tests.support import states_picture as picture

from pixelflow.contracts.jobs.states import TRANSITIONS


def test_the_picture_is_what_the_code_says() -> None:
    assert picture.FILE.read_text(encoding="utf-8") == picture.draw(), "run `make schemas`"


def test_no_transition_is_drawn_that_the_code_does_not_make() -> None:
    assert set(picture.PATHS) == {(before, after) for before, afters in TRANSITIONS.items() for after in afters}
