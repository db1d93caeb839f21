"""Room for the source files of a worker: their bytes are bounded, and those who wait get room in turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from pixelflow.dataplane.worker.leases import ActiveLease

_WAIT_SECONDS = 0.2
"""Between two looks at the lease while sources of other jobs fill the limit."""


class NoRoomError(Exception):
    """The sources at hand leave no room for a source at present."""

    def __init__(self, size: int) -> None:
        super().__init__(f"no room for {size} bytes")
        self.size = size


class BytesAtHand:
    """Bounds the bytes of source files. Thread-safe; those who wait get room in the order of their arrival."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._waiting: deque[Room] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def room(self) -> Iterator[Room]:
        """Room for one source, empty at first; given back at the end."""
        room = Room(self)
        try:
            yield room
        finally:
            self.change(room, 0)

    def change(self, room: Room, size: int) -> bool:
        """Make a room as large as ``size`` bytes, if nobody waits before it; returns whether that was possible."""
        with self._changed:
            if size > room.size and not self._fits(room, size):
                return False
            self._held += size - room.size
            room.size = size
            self._changed.notify_all()
            return True

    def _fits(self, room: Room, size: int) -> bool:
        is_next = not self._waiting or self._waiting[0] is room
        others = self._held - room.size
        return is_next and (others + size <= self._limit or not others)

    def wait(self, room: Room, size: int, lease: ActiveLease) -> None:
        """Wait until the room has ``size`` bytes; it must be empty, so that two rooms can't wait for each other."""
        with self._changed:
            self._waiting.append(room)
            try:
                while not self.change(room, size):
                    lease.check()
                    self._changed.wait(_WAIT_SECONDS)
            finally:
                self._waiting.remove(room)
                self._changed.notify_all()


class Room:
    """Room for the bytes of one source."""

    def __init__(self, at_hand: BytesAtHand) -> None:
        self._at_hand = at_hand
        self.size = 0

    def reserve(self, size: int) -> None:
        """Make room for ``size`` bytes.

        Raises:
            NoRoomError: there is not enough at present.
        """
        if size > self.size and not self._at_hand.change(self, size):
            raise NoRoomError(size)

    def wait(self, size: int, lease: ActiveLease) -> None:
        """Give the room back, and wait until there are ``size`` bytes.

        Raises:
            LeaseLostError, ShutdownRequestedError: the attempt was interrupted.
        """
        self._at_hand.change(self, 0)
        self._at_hand.wait(self, size, lease)
