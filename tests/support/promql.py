"""Extracts metric and label names from PromQL with regular expressions, which suffice for our own queries."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SELECTOR = re.compile(r"\b((?:pixelflow|process|python)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_STRING = re.compile(r'"[^"]*"')


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric (histograms without suffix) with the labels of its matchers."""
    for name, matchers in _SELECTOR.findall(expression):
        yield re.sub(r"_(bucket|sum|count)$", "", name), set(_MATCHER.findall(matchers))


def metrics(expression: str) -> set[str]:
    """Return the metrics of an expression."""
    return {name for name, _ in selectors(expression)}


def groupings(expression: str) -> set[str]:
    """Return the labels that an expression groups or joins by."""
    found = _GROUPING.findall(_STRING.sub("", expression))
    return {label.strip() for each in found for label in each.split(",") if label.strip()}
