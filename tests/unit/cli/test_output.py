"""Formatting of numbers."""

from __future__ import annotations

import pytest

from pixelflow.cli.output import format_change, format_size, printable


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (100, 6, "\N{MINUS SIGN}94 %"),
        (100, 470, "+370 %"),
        (100, 100, "0 %"),
        (1000, 999, "0 %"),
        (642_618, 1_780, "\N{MINUS SIGN}99.7 %"),
        (10_000_000, 1, "\N{MINUS SIGN}99.9 %"),
        (None, 5, ""),
        (0, 5, ""),
    ],
)
def test_a_change_of_size_is_a_signed_percentage(before: int | None, after: int, text: str) -> None:
    assert format_change(before, after) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_345_678, "2.35 MB"), (5_000_000_000_000, "5000 GB")],
)
def test_a_size_has_three_digits_and_a_decimal_unit(count: int, text: str) -> None:
    assert format_size(count) == text


def test_control_characters_are_replaced() -> None:
    assert printable("a\x1b[31mé\n") == "a\N{REPLACEMENT CHARACTER}[31mé\N{REPLACEMENT CHARACTER}"
