"""«Did you mean»: the field or value that a client most likely meant, by the names of other tools and by spelling.

A suggestion is always a name of PixelFlow's own. It never repeats what the client sent, except a name of ``FIELDS``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

from pixelflow.contracts.other_tools import FIELDS, Aliases

MAX_LENGTH = 32
"""Characters of a name that is compared. The longest field name has half as many."""
_CUTOFF = 0.75
"""Least similarity (difflib's ratio). «upload» and «pad», «effort» and «format» are 0.67."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def similar(word: object, known: Collection[str], aliases: Aliases) -> str | None:
    """Return the entry of ``known`` that ``word`` most likely means, if there is one.

    Args:
        word: what the client sent; anything but a short string has no suggestion.
        known: the names that are valid in its place.
        aliases: names of other tools; those whose meaning is not in ``known`` are ignored.
    """
    if not isinstance(word, str) or not 0 < len(word) <= MAX_LENGTH:
        return None
    normal = normalize(word)
    if normal in known:
        return normal
    if meant := next((name for name in aliases.get(normal, ()) if name in known), None):
        return meant
    # Letters in another order, such as «rezise», are less similar than the words are.
    exchanged = (name for name in known if len(name) == len(normal) and sorted(name) == sorted(normal))
    found = difflib.get_close_matches(normal, known, n=1, cutoff=_CUTOFF)
    return next(exchanged, found[0] if found else None)


def normalize(word: str) -> str:
    """Return ``word`` as the tables of other tools' names have it: ``backgroundColor`` is ``background_color``."""
    return re.sub(r"[\s-]+", "_", _CAMEL.sub("_", word.strip()).lower()).removeprefix("image/").strip("._")


def misnamed(field: str, names: Iterable[object]) -> str | None:
    """Return the first of the ``names`` that other tools use for ``field``."""
    return next((name for name in names if isinstance(name, str) and field in FIELDS.get(name, ())), None)
