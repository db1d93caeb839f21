"""Fetches sources by URL, each on an event loop of its own in the thread of its attempt.

The servers are strangers: one that is slow or away takes a bounded part of a worker's places, and never degrades the
worker. Logs and errors name the scheme and the host of a URL and nothing else of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import BinaryIO
from urllib.parse import urlsplit

from pixelflow.adapters.outbound_http import Downloads
from pixelflow.adapters.storage.interrupts import Interrupts, Reserve
from pixelflow.errors import SourcePostponedError, SourceUrlUnavailableError

PAUSE_SECONDS = 1.0
"""How long a worker claims no job with such a source of a user after it had to postpone one of the user."""


class FetchPlaces:
    """Bounds the downloads of a worker to half of its places. Thread-safe.

    Of these, a user may have half and a host three quarters: no user takes all places of a host that others use too.
    """

    def __init__(self, places: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``places``: jobs that the worker has at hand at most."""
        self._total = max(1, places // 2)
        self._per_user = max(1, self._total // 2)
        self._per_host = max(1, self._total * 3 // 4)
        self._clock = clock
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._taken = 0
        self._resting: dict[str, float] = {}
        """Until when each user rests of whom a download was postponed."""

    @property
    def room(self) -> int:
        """How many more downloads may begin."""
        return self._total - self._taken

    @property
    def resting(self) -> list[str]:
        """The users of whom no download should begin now, because one was postponed a moment ago."""
        with self._lock:
            now = self._clock()
            self._resting = {user_id: until for user_id, until in self._resting.items() if until > now}
            return list(self._resting)

    @contextmanager
    def place(self, user_id: str, host: str) -> Iterator[None]:
        """Hold a place for a download.

        Raises:
            SourcePostponedError: there is none at present for this user or host.
        """
        shares = {f"user {user_id}": self._per_user, f"host {host}": self._per_host}
        with self._lock:
            is_full = any(self._held[owner] >= share for owner, share in shares.items())
            if is_full or self._taken >= self._total:
                self._resting[user_id] = self._clock() + PAUSE_SECONDS
                raise SourcePostponedError("The worker fetches other sources of yours, or of this server, first")
            self._taken += 1
            self._held.update(shares.keys())
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1
                self._held.subtract(shares.keys())
                self._held += Counter()  # drops those without a place


class UrlSources:
    """Fetches the sources of jobs from the URLs that their owners named. Thread-safe."""

    def __init__(self, downloads: Downloads, places: FetchPlaces) -> None:
        self._downloads = downloads
        self._places = places

    def place(self, user_id: str, url: str) -> AbstractContextManager[None]:
        """A place for :meth:`fetch`, also while its file waits for room; see :meth:`FetchPlaces.place`."""
        return self._places.place(user_id, urlsplit(url).hostname or "")

    def fetch(
        self, url: str, file: BinaryIO, *, max_bytes: int, reserve: Reserve, interrupts: Interrupts
    ) -> tuple[int, str]:
        """Copy the file at ``url`` into an empty file; see :meth:`Downloads.get`.

        Raises:
            SourceUrlUnavailableError: also if the download was ended by ``interrupts``.
        """
        try:
            return asyncio.run(self._fetch(url, file, max_bytes, reserve, interrupts))
        except asyncio.CancelledError:
            raise SourceUrlUnavailableError("The download was ended") from None

    async def _fetch(
        self, url: str, file: BinaryIO, max_bytes: int, reserve: Reserve, interrupts: Interrupts
    ) -> tuple[int, str]:
        loop = asyncio.get_running_loop()
        download = asyncio.create_task(self._downloads.get(url, file, max_bytes=max_bytes, reserve=reserve))

        def end() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(download.cancel)

        with interrupts(end):
            return await download
