"""Fetches sources by URL, each on an event loop of its own in the thread of its attempt.

The servers are strangers: one that is slow or away takes a bounded part of a worker's places, and never degrades the
worker. Logs and errors name the scheme and the host of a URL and nothing else of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

from pixelflow.adapters.outbound_http import Downloads
from pixelflow.adapters.storage.interrupts import Interrupts, Reserve
from pixelflow.errors import SourcePostponedError, SourceUrlUnavailableError

PAUSE_SECONDS = 1.0
"""How long a worker claims no job with such a source of a user after it had to postpone one of the user."""
REDIRECT_SECONDS = 1.0
"""How long a redirected download waits for a place of its new host. Another attempt asks the first host again, and
its URL may work only once."""


class FetchPlaces:
    """Bounds the downloads of a worker to half of its places. Thread-safe.

    Of these, a user may have half and a host three quarters: no user takes all places of a host that others use too. A
    download that is redirected counts for the host that it is redirected to.
    """

    def __init__(self, places: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``places``: jobs that the worker has at hand at most."""
        self._total = max(1, places // 2)
        self._per_user = max(1, self._total // 2)
        self._per_host = max(1, self._total * 3 // 4)
        self._clock = clock
        self._lock = threading.Condition()
        """Notified when a place of a host is given back."""
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
    def place(self, user_id: str, host: str) -> Iterator[FetchPlace]:
        """Hold a place for a download.

        Raises:
            SourcePostponedError: there is none at present for this user or host.
        """
        user = f"user {user_id}"
        with self._lock:
            if self._held[user] >= self._per_user or self._taken >= self._total:
                raise self._postponed(user_id)
            self._take_host(user_id, host)
            self._taken += 1
            self._held[user] += 1
        place = FetchPlace(self, user_id, host)
        try:
            yield place
        finally:
            with self._lock:
                self._taken -= 1
                self._held.subtract([user, f"host {place.host}"])
                self._held += Counter()  # drops those without a place
                self._lock.notify_all()

    def move(self, place: FetchPlace, host: str) -> None:
        """See :meth:`FetchPlace.move`."""
        with self._lock:
            if host != place.host:
                self._take_host(place.user_id, host, REDIRECT_SECONDS)
                self._held[f"host {place.host}"] -= 1
                self._lock.notify_all()
                place.host = host

    def _take_host(self, user_id: str, host: str, seconds: float = 0.0) -> None:
        if not self._lock.wait_for(lambda: self._held[f"host {host}"] < self._per_host, seconds):
            raise self._postponed(user_id)
        self._held[f"host {host}"] += 1

    def _postponed(self, user_id: str) -> SourcePostponedError:
        self._resting[user_id] = self._clock() + PAUSE_SECONDS
        return SourcePostponedError("The worker fetches other sources of yours, or of this server, first")


@dataclass(eq=False)
class FetchPlace:
    """A place for one download, which counts for its user and for the host that it is from at present."""

    _places: FetchPlaces
    user_id: str
    host: str

    def move(self, host: str) -> None:
        """Count for the host of a redirect instead. Blocks for up to ``REDIRECT_SECONDS`` until it has a place.

        Raises:
            SourcePostponedError: there is no place for this host, also not within that time.
        """
        self._places.move(self, host)


class UrlSources:
    """Fetches the sources of jobs from the URLs that their owners named. Thread-safe."""

    def __init__(self, downloads: Downloads, places: FetchPlaces) -> None:
        self._downloads = downloads
        self._places = places

    def place(self, user_id: str, url: str) -> AbstractContextManager[FetchPlace]:
        """A place for :meth:`fetch`, also while its file waits for room; see :meth:`FetchPlaces.place`."""
        return self._places.place(user_id, _host_of(url))

    def fetch(
        self, url: str, file: BinaryIO, place: FetchPlace, *, max_bytes: int, reserve: Reserve, interrupts: Interrupts
    ) -> tuple[int, str]:
        """Copy the file at ``url`` into an empty file; see :meth:`Downloads.get`. The place moves with redirects.

        Raises:
            SourceUrlUnavailableError: also if the download was ended by ``interrupts``.
            SourcePostponedError: there is no place for the host of a redirect.
        """
        place.move(_host_of(url))
        download = self._downloads.get(
            url, file, max_bytes=max_bytes, reserve=reserve, on_redirect=lambda to: place.move(_host_of(to))
        )
        try:
            return asyncio.run(_run(download, interrupts))
        except asyncio.CancelledError:
            raise SourceUrlUnavailableError("The download was ended") from None


async def _run(download: Coroutine[None, None, tuple[int, str]], interrupts: Interrupts) -> tuple[int, str]:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(download)

    def end() -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(task.cancel)

    with interrupts(end):
        return await task


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""
