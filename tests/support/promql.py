"""What an expression of PromQL speaks of: names of metrics and of labels. By patterns: enough for our own."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SELECTOR = re.compile(r"\b((?:pixelflow|process|python)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_STRING = re.compile(r'"[^"]*"')


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric that it asks for (a histogram by its own name), with the labels that it is matched by."""
    for name, matchers in _SELECTOR.findall(expression):
        yield re.sub(r"_(bucket|sum|count)$", "", name), set(_MATCHER.findall(matchers))


def metrics(expression: str) -> set[str]:
    """The metrics that it asks for."""
    return {name for name, _ in selectors(expression)}


def groupings(expression: str) -> set[str]:
    """The labels that it groups or joins by."""
    found = _GROUPING.findall(_STRING.sub("", expression))
    return {label.strip() for each in found for label in each.split(",") if label.strip()}
