"""How numbers are told to people."""

from __future__ import annotations

import pytest

from pixelflow.cli.output import change


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (100, 6, "\N{MINUS SIGN}94 %"),
        (100, 470, "+370 %"),
        (100, 100, "0 %"),
        (1000, 999, "0 %"),
        (None, 5, ""),
        (0, 5, ""),
    ],
)
def test_a_change_of_size_has_its_sign(before: int | None, after: int, told: str) -> None:
    assert change(before, after) == told
