"""A dictionary of bounded size, for what a process may forget."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LruDict(Generic[K, V]):
    """Keeps the most recently used items."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._items: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        """Return the value and count this as a use; ``None`` if there is none."""
        value = self._items.get(key)
        if value is not None:
            self._items.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Store the value, and drop the least recently used one if there are too many."""
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._max_size:
            self._items.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget the key."""
        self._items.pop(key, None)
